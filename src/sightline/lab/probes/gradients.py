"""How much of what a model learns from a word reaches a word far away: the vanishing gradient (Hochreiter 1991; Bengio et
al. 1994; Pascanu et al. 2013).
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from sightline.bundle import Bundle
from sightline.lab.parts import Line, LineChart, Said, Section, Table
from sightline.lab.probes.flow import flow
from sightline.lab.probes.fresh import Trained, Untrained, fresh, in_double, one_way, random_words
from sightline.models.config import RecurrentConfig, TransformerConfig
from sightline.models.sequence_to_sequence import AnyModel
from sightline.training.optim import clip

DISTANCES = (1, 2, 4, 8, 16, 32, 64, 128)
"""From a word of the source to the word that is written, in words."""
CLIP = 1.0
"""The joint norm of all gradients that is let through."""
GAIN = 2.0
"""What the recurrent weights are multiplied by to have gradients explode."""
LEAST = 1e-30
"""What is drawn on a logarithmic axis where there is less."""


@dataclass(frozen=True)
class GradientByDistance:
    """Gradient norms, and how far from the written word the source words are: see `gradient_by_distance`."""

    distances: list[int]
    norms: list[float]

    @property
    def relative(self) -> list[float]:
        """Divided by the first."""
        return [norm / self.norms[0] if self.norms[0] else 0.0 for norm in self.norms]

    @property
    def factor(self) -> float:
        """What a step farther multiplies it by, from the first distance to the last, in the geometric mean."""
        first, last = self.norms[0], self.norms[-1]
        steps = self.distances[-1] - self.distances[0]
        return math.exp(math.log(max(last, LEAST) / max(first, LEAST)) / steps) if steps else 1.0


@dataclass(frozen=True)
class Clipping:
    """What clipping does to the gradient of a batch: the joint norm of all weights' gradients before and after."""

    before: float
    after: float


def gradient_by_distance(
    model: AnyModel, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], distances: Sequence[int]
) -> GradientByDistance:
    """The norm of dL/de at growing distance. L is the cross-entropy, in nats, of the last word of `tgt` alone, given the
    words before it; e is the embedding [m] of a source word as the first layer gets it, scaled and with its position.
    The norm is the Euclidean one over the m numbers, averaged over the rows.

    With n source words and t words before the one that is written, source word i (from 0) is at distance n - i + t: so
    many steps a network that reads from left to right and then writes has to take from one to the other. It is the gradient
    that training sees: where a model scales gradients, as ConvS2S does those of its encoder, they are scaled. In float64.

    Raises ValueError for a distance at which there is no source word.
    """
    n, before = src.shape[1], tgt.shape[1] - 1
    if not all(before < d <= n + before for d in distances):
        raise ValueError(f"distances {list(distances)} are not all from {before + 1} to {n + before}")
    exact = in_double(model)
    begin = torch.full_like(tgt[:, :1], exact.bos_id)
    with flow(exact) as seen:
        logits = exact(src, torch.cat((begin, tgt[:, :-1]), dim=1))[:, -1]
    loss = cross_entropy(logits, tgt[:, -1], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, seen.embedding)
    norms = gradient.norm(dim=-1).mean(dim=0)
    return GradientByDistance(list(distances), [float(norms[n + before - d]) for d in distances])


def gradient_by_layer(model: AnyModel, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"]) -> list[float]:
    """The norm of dL/dh for the vectors h that go into each layer of the encoder, the lowest first, and for the last
    layer's output; L is the cross-entropy of all target words. The norm is over all words and numbers of a row,
    averaged over the rows.
    """
    exact = in_double(model)
    begin = torch.full_like(tgt[:, :1], exact.bos_id)
    with flow(exact) as seen:
        logits = exact(src, torch.cat((begin, tgt[:, :-1]), dim=1))
    loss = cross_entropy(logits.flatten(0, 1), tgt.flatten(), reduction="sum")
    found = torch.autograd.grad(loss, [seen.embedding, *seen.layers])
    return [float(each.flatten(1).norm(dim=1).mean()) for each in found]


def clipping(model: AnyModel, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], limit: float = CLIP) -> Clipping:
    """One batch's gradient of the mean loss a word, before and after it is clipped to `limit` (Pascanu et al. 2013,
    section 3.2).
    """
    exact = in_double(model).requires_grad_(True)
    begin = torch.full_like(tgt[:, :1], exact.bos_id)
    logits = exact(src, torch.cat((begin, tgt[:, :-1]), dim=1))
    cross_entropy(logits.flatten(0, 1), tgt.flatten()).backward()
    before = float(clip(exact, limit))
    return Clipping(before, float(clip(exact, 0.0)))


def averaged(found: Sequence[GradientByDistance]) -> GradientByDistance:
    """The geometric mean at each distance, over models that differ in their first weights only."""
    columns = zip(*(each.norms for each in found), strict=True)
    norms = [math.exp(sum(math.log(max(x, LEAST)) for x in column) / len(found)) for column in columns]
    return GradientByDistance(found[0].distances, norms)


def scaled_recurrence(model: AnyModel, factor: float) -> AnyModel:
    """The same model with what a state gives to the next multiplied: above 1 gradients may explode (Pascanu et al. 2013,
    section 2.1).
    """
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in changed.named_parameters():
            if name.endswith("weight_hh"):
                parameter.mul_(factor)
    return changed


def gradient_systems(width: int = 64) -> list[Untrained]:
    """The classical comparison: without gates and with them, without attention and with it, and no recurrence at all."""
    kinds = [("elman", "Elman RNN", "Elman 循环网络"), ("gru", "GRU", "GRU"), ("lstm", "LSTM", "LSTM")]
    found: list[Untrained] = [
        (Said(en, zh), RecurrentConfig(cell=cell, d_model=width, attention="none", bidirectional=False))
        for cell, en, zh in kinds
    ]
    found += [
        (
            Said(f"{en} + additive attention", f"{zh} + 加性注意力"),
            RecurrentConfig(cell=cell, d_model=width, bidirectional=False),
        )
        for cell, en, zh in kinds
    ]
    transformer = TransformerConfig(d_model=width, d_ff=2 * width, n_heads=4, n_encoder_layers=2, n_decoder_layers=2)
    return [*found, (Said("Transformer", "Transformer"), transformer)]


def deep_systems(width: int = 64, layers: int = 8) -> list[Untrained]:
    """Recurrent networks of many layers, without residual connections and with them, and a Transformer as deep, which has
    them.
    """
    found: list[Untrained] = []
    for cell, name in (("elman", "Elman"), ("gru", "GRU"), ("lstm", "LSTM")):
        for residual in (False, True):
            config = RecurrentConfig(
                cell=cell, d_model=width, n_encoder_layers=layers, bidirectional=False, residual=residual
            )
            en, zh = ("with residuals", "有残差") if residual else ("without residuals", "无残差")
            found.append((Said(f"{name}, {en}", f"{name}，{zh}"), config))
    transformer = TransformerConfig(
        d_model=width, d_ff=2 * width, n_heads=4, n_encoder_layers=layers, n_decoder_layers=1, norm_at="pre"
    )
    return [*found, (Said("Transformer (pre-norm)", "Transformer（前置归一化）"), transformer)]


def at_first(
    systems: Sequence[Untrained], distances: Sequence[int], vocab_size: int, rows: int, seeds: int
) -> list[GradientByDistance]:
    """The gradients by distance of models with their first weights, over random sentences of as many words as the largest
    distance, for the first word that is written. A recurrent encoder reads from left to right only: see `one_way`.
    """
    found = []
    for _, config in systems:
        each = []
        for seed in range(1, seeds + 1):
            generator = torch.Generator().manual_seed(seed)
            src = random_words(rows, max(distances), vocab_size, generator)
            tgt = random_words(rows, 1, vocab_size, generator)
            model = fresh(one_way(config), vocab_size, max(distances) + 1, seed)
            each.append(gradient_by_distance(model, src, tgt, distances))
        found.append(averaged(each))
    return found


def of_trained(
    bundle: Bundle, pairs: Sequence[tuple[str, str]], distances: Sequence[int], rows: int
) -> GradientByDistance | None:
    """The gradients by distance of a trained model. What it reads are sentences one after another, up to as many tokens
    as the largest distance that it takes, the end of the sentence the last; what it writes is the first token of the
    translation of the first. Up to `rows` times.

    Distances that the sentences or the model do not reach are left out; None if fewer than two are left.
    """
    tokenizer, model = bundle.tokenizer, bundle.model
    tag = [tokenizer.tag_id(bundle.config.tgt_lang)] if tokenizer.tags else []
    sentences, translations = tokenizer.encode_src([a for a, _ in pairs]), tokenizer.encode_tgt([b for _, b in pairs])
    text = [token for ids in sentences for token in ids[:-1]]
    reached = [d for d in distances if d < model.max_len and d <= len(tag) + len(text) + 1]
    if not text or len(reached) < 2:
        return None
    size = max(reached) - len(tag) - 1
    starts = itertools.accumulate((len(ids) - 1 for ids in sentences), initial=0)
    taken: list[tuple[list[int], list[int]]] = []
    for start, ids in zip(starts, translations, strict=False):
        if len(taken) == rows or start + size > len(text):
            break
        taken.append(([*tag, *text[start : start + size], tokenizer.eos_id], ids[:1]))
    src, tgt = (torch.tensor(side) for side in zip(*taken, strict=True))
    return gradient_by_distance(model, src, tgt, reached)


def gradients_section(
    systems: Sequence[Untrained],
    trained: Sequence[Trained] = (),
    pairs: Sequence[tuple[str, str]] = (),
    deep: Sequence[Untrained] = (),
    distances: Sequence[int] = DISTANCES,
    vocab_size: int = 1000,
    rows: int = 16,
    seeds: int = 3,
) -> Section:
    """The gradients of `systems` at first and of `trained` models on `pairs`, those by layer of `deep` systems, and what
    clipping does.

    See `gradient_systems` and `deep_systems` for those of the classical comparison.
    """
    found = at_first(systems, distances, vocab_size, rows, seeds)
    x, y = Said("Distance in words", "相隔词数"), Said("Gradient, relative to distance 1", "梯度（以距离 1 为 1）")
    parts: list[LineChart | Table] = [
        LineChart(Said("Before training", "训练之前"), x, y, _lines(systems, found), log_x=True, log_y=True)
    ]
    found_after = [(each, of_trained(each[1], pairs, distances, rows)) for each in trained]
    after = [(each, found) for each, found in found_after if found is not None]
    if after:
        lines = _lines([each for each, _ in after], [found for _, found in after])
        parts.append(LineChart(Said("After training", "训练之后"), x, y, lines, log_x=True, log_y=True))
    parts.append(_factors(systems, found))
    if deep:
        parts.append(_by_layer(deep, vocab_size, rows, seeds))
    parts.append(_clipped(systems, vocab_size, rows, max(distances)))
    text = [
        Said(
            "How strongly does the error at the first written word depend on a word read long before? Shown is the norm of "
            "the gradient of that word's loss by the embedding of the source word so many words before the end, relative to "
            f"distance 1, over {rows} random sentences and {seeds} draws of the first weights. Recurrent encoders read from "
            "left to right here: read backwards too, the first word would be the last.",
            "第一个写出的词的误差，在多大程度上依赖于很久以前读到的词？图中是该词的损失对距句末若干词处的源词嵌入的梯度范数"
            f"，以距离 1 为 1，取 {rows} 个随机句子、{seeds} 组初始权重。这里循环编码器只从左向右读：若也反向读，第一个词就成"
            "了最后一个。",
        ),
        Said(
            "Clipping scales the whole gradient: it tames one that explodes, and leaves the ratio between near and far words "
            "as it was. Gates can learn to let the gradient through (the forget gate of an LSTM begins open), residual "
            "connections lead it down through many layers, and attention makes every distance one step.",
            "梯度裁剪把整个梯度一起缩小：它能制住爆炸的梯度，却不改变近处词与远处词之间的比例。门控可以学会让梯度通过（LSTM "
            "的遗忘门一开始就是开的），残差连接把梯度引下许多层，注意力则使任何距离都只有一步。",
        ),
    ]
    if after:
        text.append(_read_after_training(rows))
    return Section(Said("Does the gradient reach far words?", "梯度能到达远处的词吗？"), text, parts)


def _read_after_training(rows: int) -> Said:
    return Said(
        "What the models read after training are test sentences, one after another without their ends, cut to as many tokens as "
        "the largest distance and ended there; what they write is the first token of the translation of the first of them. The "
        f"norms are means over up to {rows} such texts. No model was trained on several sentences in one: this shows what its "
        "weights let through, not what it does with a sentence. Distances that the text or a model's max_len does not reach are "
        "left out. Models that read both ways are shown as they are, the first word then being near as well; and the first word "
        "written often comes from the first word read, the farthest, to which attention then leads the most gradient.",
        "训练之后，模型读的是测试集的句子：一句接一句，去掉各句的结尾，截到与最大距离同样多的词元，再加上结尾；写出的是其中第"
        f"一句译文的第一个词元。范数是最多 {rows} 段这样的文字的平均。训练时没有哪个模型见过几句连成的一句：这里看的是权重能"
        "让多少梯度通过，不是模型怎样处理一个句子。文字或模型的 max_len 达不到的距离不画。双向阅读的模型照原样显示，此时第一"
        "个词也在近处；而且写出的第一个词往往就来自读到的第一个词，也就是最远的那个，注意力便把最多的梯度引向它。",
    )


def _lines(named: Sequence[Untrained | Trained], found: Sequence[GradientByDistance]) -> list[Line]:
    return [
        Line(name, [float(d) for d in each.distances], [max(value, LEAST) for value in each.relative])
        for (name, _), each in zip(named, found, strict=True)
    ]


def _factors(systems: Sequence[Untrained], found: Sequence[GradientByDistance]) -> Table:
    rows = [
        [name, f"{each.factor:.3f}", f"{each.relative[-1]:.1e}"] for (name, _), each in zip(systems, found, strict=True)
    ]
    last = found[0].distances[-1] if found else 0
    return Table(
        Said("How it fades before training", "训练之前梯度如何衰减"),
        [
            Said("System", "系统"),
            Said("Times, a word", "每远一词的倍数"),
            Said(f"At distance {last}", f"距离 {last} 处"),
        ],
        rows,
    )


def _by_layer(systems: Sequence[Untrained], vocab_size: int, rows: int, seeds: int, length: int = 16) -> LineChart:
    lines = []
    for name, config in systems:
        logs: list[Tensor] = []
        for seed in range(1, seeds + 1):
            generator = torch.Generator().manual_seed(seed)
            src, tgt = (random_words(rows, length, vocab_size, generator) for _ in range(2))
            norms = gradient_by_layer(fresh(one_way(config), vocab_size, length + 1, seed), src, tgt)
            logs.append(torch.tensor([max(x, LEAST) for x in norms], dtype=torch.float64).log())
        mean: Float[Tensor, " layers"] = torch.stack(logs).mean(dim=0)
        relative = (mean - mean[-1]).exp().flip(0)
        lines.append(Line(name, [float(i) for i in range(len(relative))], relative.tolist()))
    return LineChart(
        Said("Down through the layers of the encoder, before training", "沿编码器各层向下（训练之前）"),
        Said("Layers below the top", "距顶层的层数"),
        Said("Gradient, relative to the top", "梯度（以顶层为 1）"),
        lines,
        log_y=True,
    )


def _clipped(systems: Sequence[Untrained], vocab_size: int, rows: int, length: int) -> Table:
    generator = torch.Generator().manual_seed(1)
    src, tgt = (random_words(rows, length, vocab_size, generator) for _ in range(2))
    table: list[list[str | Said]] = []
    for name, config in systems:
        model = fresh(one_way(config), vocab_size, length + 1, 1)
        shown = [(name, model)]
        if isinstance(config, RecurrentConfig):
            more = Said(f"{name.en}, recurrence x {GAIN:g}", f"{name.zh}，循环权重 × {GAIN:g}")
            shown.append((more, scaled_recurrence(model, GAIN)))
        for label, each in shown:
            found = clipping(each, src, tgt)
            far = gradient_by_distance(each, src, tgt[:, :1], (1, length)).relative[-1]
            table.append([label, f"{found.before:.3g}", f"{found.after:.3g}", f"{far:.1e}"])
    return Table(
        Said(f"The gradient of a batch, clipped to {CLIP:g}", f"一个批次的梯度，裁剪到 {CLIP:g}"),
        [
            Said("System", "系统"),
            Said("Norm before", "裁剪前范数"),
            Said("Norm after", "裁剪后范数"),
            Said(f"Distance {length} : distance 1, before and after", f"距离 {length} 与距离 1 之比（裁剪前后相同）"),
        ],
        table,
    )
