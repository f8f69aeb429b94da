"""How far a vector of the encoder sees: the effective receptive field (Luo et al. 2016), beside what the architecture
allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.lab.parts import Line, LineChart, Said, Section, Table
from sightline.lab.probes.flow import flow
from sightline.lab.probes.fresh import Trained, Untrained, fresh, in_double, random_words
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig
from sightline.models.sequence_to_sequence import AnyModel

LENGTH = 65
"""Words of a sentence; the vector in the middle is looked at."""
COUNTS = 1 - 0.9545
"""A word counts if its influence is at least this share of the strongest one's: two standard deviations of a bell curve
(Luo et al. 2016, section 3).
"""

MOST = 0.9
"""The share of all influence that a radius is told for."""


@dataclass(frozen=True)
class ReceptiveField:
    """Of one layer: how much each word of the source moves the vector in the middle."""

    layer: int
    """From 1."""
    offsets: list[int]
    """Of the words from the middle; below zero to its left."""
    influence: list[float]
    """Divided by the strongest."""

    @property
    def reached(self) -> int:
        """Words from the first that moves the vector at all to the last."""
        return _span([value > 0 for value in self.influence])

    @property
    def effective(self) -> int:
        """Words that count."""
        return sum(value >= COUNTS for value in self.influence)

    @property
    def radius(self) -> int:
        """Words on each side within which `MOST` of all influence lies: what many words do that are faint one by one."""
        total, widest = sum(self.influence), max(abs(offset) for offset in self.offsets)
        return next(
            (r for r in range(widest) if self._within(r) >= MOST * total),
            widest,
        )

    def _within(self, radius: int) -> float:
        return sum(value for offset, value in zip(self.offsets, self.influence, strict=True) if abs(offset) <= radius)


def _span(moves: Sequence[bool]) -> int:
    where = [i for i, does in enumerate(moves) if does]
    return where[-1] - where[0] + 1 if where else 0


def receptive_fields(model: AnyModel, src: Int[Tensor, "b s"], draws: int = 8, seed: int = 1) -> list[ReceptiveField]:
    """That of each layer of the encoder at the word in the middle of sentences without padding.

    The influence of word j is the Frobenius norm of the Jacobian d h / d e_j, h the layer's vector and e_j the word's
    embedding as the first layer gets it: the root of the mean square, over the rows and over `draws` vectors v of random
    signs, of the norm of v (d h / d e_j), which it is on average (Hutchinson 1990). Computed in float64.
    """
    exact, middle = in_double(model), src.shape[1] // 2
    generator = torch.Generator().manual_seed(seed)
    with flow(exact) as seen:
        exact.start(src)
    found = []
    for number, out in enumerate(seen.layers, 1):
        squares = torch.zeros(src.shape[1], dtype=torch.float64)
        for _ in range(draws):
            signs = torch.randint(0, 2, out[:, middle].shape, generator=generator).to(out) * 2 - 1
            (gradient,) = torch.autograd.grad((out[:, middle] * signs).sum(), seen.embedding, retain_graph=True)
            squares += gradient.square().sum(dim=-1).mean(dim=0)
        influence: Float[Tensor, " s"] = squares.sqrt()
        offsets = [i - middle for i in range(src.shape[1])]
        found.append(ReceptiveField(number, offsets, (influence / influence.max()).tolist()))
    return found


def theoretical(config: ModelConfig, layer: int, length: int) -> int:
    """How many words the architecture lets the vector in the middle of so many see at most, above `layer` layers: 1 + L
    (k - 1) for convolutions of k words, 1 + 2 L w for attention to w words on each side,
    all of them for other attention and for reading both ways, and half of them for reading one way.
    """
    if isinstance(config, ConvolutionalConfig):
        return min(length, 1 + layer * (config.kernel_size - 1))
    if isinstance(config, RecurrentConfig) and not config.bidirectional:
        return length // 2 + 1
    window = window_of(config)
    return length if window is None else min(length, 1 + 2 * layer * window)


def window_of(config: ModelConfig) -> int | None:
    """How many words on each side the self-attention of a Transformer sees, if that is fixed; None: all."""
    given = config.attention if isinstance(config.attention, dict) else {"kind": config.attention}
    if isinstance(config, TransformerConfig) and given.get("kind") == "local" and not given.get("predict"):
        return int(given.get("window", 10))
    return None


def receptive_section(
    systems: Sequence[Untrained],
    trained: Sequence[Trained] = (),
    length: int = LENGTH,
    rows: int = 8,
    draws: int = 8,
    vocab_size: int = 1000,
    seed: int = 1,
) -> Section:
    """The fields of `systems` with their first weights and of `trained` models, over random sentences."""
    models = [(name, config, fresh(config, vocab_size, length + 1, seed), False) for name, config in systems]
    models += [(name, bundle.config.model, bundle.model, True) for name, bundle in trained]
    charts, table = [], []
    for name, config, model, known in models:
        generator = torch.Generator().manual_seed(seed)
        n = min(length, model.max_len)
        src = random_words(rows, n, model.src_embed.tokens.num_embeddings, generator)
        found = receptive_fields(model, src, draws, seed)
        label = Said(f"{name.en}, trained", f"{name.zh}（训练后）") if known else name
        charts.append(_chart(label, found))
        table += [
            [
                label,
                str(each.layer),
                str(theoretical(config, each.layer, n)),
                str(each.reached),
                str(each.effective),
                f"± {each.radius}",
            ]
            for each in found
        ]
    return Section(
        Said("How far does the encoder see?", "编码器能看多远？"),
        [
            Said(
                f"The influence of each source word on the encoder's vector in the middle of {length} random words, layer by "
                "layer: the norm of the Jacobian, relative to the strongest. A convolution sees k - 1 words more with each "
                "layer, most of them faintly; attention may see all words from its first layer on; a recurrent network sees "
                "all that it has read, and forgets.",
                f"在 {length} 个随机词组成的句子里，每个源词对编码器正中间向量的影响（逐层）：雅可比矩阵的范数，以最强者为 1"
                "。卷积每加一层多看到 k - 1 个词，但大多影响微弱；注意力从第一层起就可以看到所有词；循环网络看得到读过的一切"
                "，却会遗忘。",
            )
        ],
        [
            *charts,
            Table(
                Said("Words seen", "看到的词数"),
                [
                    Said("System", "系统"),
                    Said("Layer", "层"),
                    Said("At most, by the architecture", "结构所允许的上限"),
                    Said("Reached", "实际到达"),
                    Said(f"Effective (at least {COUNTS:.2%} of the strongest)", f"有效（不低于最强者的 {COUNTS:.2%}）"),
                    Said(f"{MOST:.0%} of all influence within", f"全部影响的 {MOST:.0%} 所在范围"),
                ],
                table,
            ),
        ],
    )


def _chart(name: Said, fields: Sequence[ReceptiveField]) -> LineChart:
    lines = [
        Line(Said(f"Layer {each.layer}", f"第 {each.layer} 层"), [float(x) for x in each.offsets], each.influence)
        for each in fields
    ]
    x = Said("Place of the word, from the middle", "词相对于中间的位置")
    return LineChart(name, x, Said("Influence", "影响"), lines)
