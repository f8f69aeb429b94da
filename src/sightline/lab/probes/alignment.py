"""Which words a system looks at while it writes a translation: pictures of one sentence, and the error against gold
alignments.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.bundle import Bundle
from sightline.data.lines import open_lines
from sightline.errors import DataError
from sightline.inspection.alignment import Pieces, Place, Words, align, places
from sightline.inspection.gold import check_gold, read_gold
from sightline.inspection.trace import trace
from sightline.lab.parts import HeatMap, Said, Section, Table
from sightline.lab.probes.fresh import Trained
from sightline.metrics.alignment import AlignmentScores, Gold, alignment_error_rate

CHOSEN_ON = 100


@dataclass(frozen=True)
class GoldPairs:
    """Sentence pairs in words, and what people say of each."""

    pairs: list[tuple[Words, Words]]
    gold: list[Gold]
    chosen_on: int = CHOSEN_ON
    """The first of them, on which the place is chosen that alignments are read at; they are not scored."""

    @property
    def choosing(self) -> tuple[list[tuple[Words, Words]], list[Gold]]:
        """The pairs on which the place is chosen."""
        return self.pairs[: self.chosen_on], self.gold[: self.chosen_on]

    @property
    def scored(self) -> tuple[list[tuple[Words, Words]], list[Gold]]:
        """The others."""
        return self.pairs[self.chosen_on :], self.gold[self.chosen_on :]

    def digest(self) -> str:
        """Tells it from another one."""
        links = [[sorted(each.sure), sorted(each.possible)] for each in self.gold]
        return hashlib.sha256(json.dumps([self.pairs, links, self.chosen_on]).encode()).hexdigest()


@dataclass(frozen=True)
class Look:
    """How a system looked at the source while it wrote a given translation, at one place."""

    place: Place
    src: list[str]
    """Source tokens, the tag and the end among them."""
    tgt: list[str]
    """Tokens of the translation, without its end."""
    weights: list[list[float]]
    """For each token of the translation, over the source tokens."""


@dataclass(frozen=True)
class Scored:
    """How good the alignments are that are read at a place."""

    place: Place
    scores: AlignmentScores


def read_gold_pairs(path: str | Path, first: int = 0, chosen_on: int = CHOSEN_ON) -> GoldPairs:
    """Gold alignments, a line of links "3-4 1p2" for each pair, words counted from `first`; the pairs, "source |||
    target" in words separated by blanks, are in the file of the same name that ends in .src-tgt.

    Raises DataError naming the file and line that cannot be used, or if there are no more than `chosen_on` pairs.
    """
    path = Path(path)
    text = path.with_suffix(".src-tgt")
    gold = read_gold(path, first)
    pairs: list[tuple[Words, Words]] = []
    for number, line in open_lines(text):
        src, bar, tgt = line.partition("|||")
        if not bar:
            raise DataError(f'{text} line {number} has no "|||" between source and target: write "source ||| target".')
        pairs.append((src.split(), tgt.split()))
    check_gold(path, gold, pairs)
    if len(pairs) <= chosen_on:
        raise DataError(
            f"{path} has {len(pairs):,} pairs, and on the first {chosen_on:,} it is chosen where alignments are read: give more."
        )
    return GoldPairs(pairs, gold, chosen_on)


def fits(bundle: Bundle, pair: tuple[Words, Words], to: str) -> bool:
    """Whether a model takes both sides whole: neither has, with tag and end, more tokens than `max_len`. `to` is the tag
    of the target language, "" for none.
    """
    tokenizer, most = bundle.tokenizer, bundle.model.max_len
    src, tgt = Pieces.of(pair[0], tokenizer.encode_src), Pieces.of(pair[1], tokenizer.encode_tgt)
    return bool(to) + len(src.ids) + 1 <= most and len(tgt.ids) + 1 <= most


def fitting(data: GoldPairs, bundles: Sequence[Bundle], to: str) -> GoldPairs:
    """The pairs that all of these models take whole, for the same ones must be scored everywhere. `to` is the language of
    their targets.
    """
    kept = [i for i, pair in enumerate(data.pairs) if all(fits(each, pair, tag_of(each, to)) for each in bundles)]
    chosen_on = sum(i < data.chosen_on for i in kept)
    return GoldPairs([data.pairs[i] for i in kept], [data.gold[i] for i in kept], chosen_on)


def has_attention(bundle: Bundle) -> bool:
    """Whether its decoder looks at the source at all."""
    return bool(places(bundle.model))


def tag_of(bundle: Bundle, to: str) -> str:
    """The tag of a target language for a model with tags, "" for one without."""
    return to if bundle.tokenizer.tags else ""


@torch.inference_mode()
def looks(bundle: Bundle, src: Words, tgt: Words, to: str, where: Sequence[Place]) -> list[Look]:
    """The attention to the source at each place, over a given translation. `to` is the tag of its language, "" for none.
    At a place that is read where a word goes in ("r"), a token's row is that of the step after it was written. A side that
    the model does not take whole (see `fits`) is cut.
    """
    tokenizer, model = bundle.tokenizer, bundle.model
    tag = [tokenizer.tag_id(to)] if to else []
    source = Pieces.of(src, tokenizer.encode_src).ids[: model.max_len - 1 - len(tag)]
    target = Pieces.of(tgt, tokenizer.encode_tgt).ids[: model.max_len - 1]
    read = [*tag, *source, tokenizer.eos_id]
    with trace(model, "decoder.*.cross_attn") as seen:
        model.hidden(torch.tensor([read]), torch.tensor([[tokenizer.bos_id, *target]]))
    names = tokenizer.names_src(), tokenizer.names_tgt()
    found = []
    for place in where:
        heads: Float[Tensor, "h t s"] = seen[f"decoder.{place.layer}.cross_attn"][0].float()
        rows = heads.mean(dim=0) if place.head is None else heads[place.head]
        first = int(place.after)
        weights = rows[first : first + len(target)]
        words = [names[0][i] for i in read], [names[1][i] for i in target]
        found.append(Look(place, *words, weights.tolist()))
    return found


def told(look: Look) -> float:
    """How much a row of the attention tells of which source token it is about, in nats: the mutual information of rows
    and columns, if all rows are as probable. It is high where each row looks at few tokens, and different rows at
    different ones; a head that looks at the same token always is as sharp, and tells nothing.
    """
    rows = torch.tensor(look.weights, dtype=torch.float64)
    if not rows.numel():
        return 0.0
    return float(torch.special.entr(rows.mean(dim=0)).sum() - torch.special.entr(rows).sum(dim=1).mean())


def sharpest(bundle: Bundle, src: Words, tgt: Words, to: str) -> Look:
    """The attention of the place that tells most. Raises ValueError if the model has no attention to the source."""
    where = places(bundle.model)
    if not where:
        raise ValueError("the model has no attention to the source")
    return max(looks(bundle, src, tgt, to, where), key=told)


def score_places(bundle: Bundle, data: GoldPairs, to: str) -> Scored:
    """The place with the lowest alignment error rate on the pairs for choosing it, and the scores there of the others:
    chosen and scored on the same ones, the best of many heads would look better than it is.

    Raises ValueError if the model has no attention to the source.
    """
    where = places(bundle.model)
    if not where:
        raise ValueError("the model has no attention to the source")
    pairs, gold = data.choosing
    tried = align(bundle.model, bundle.tokenizer, pairs, to, where)
    rates = [alignment_error_rate(each, gold).error_rate for each in tried]
    place = where[rates.index(min(rates))]
    pairs, gold = data.scored
    [found] = align(bundle.model, bundle.tokenizer, pairs, to, [place])
    return Scored(place, alignment_error_rate(found, gold))


def diagonal(data: GoldPairs) -> AlignmentScores:
    """What linking every target word to the source word at the same share of the sentence has: what any system should be
    below.
    """
    pairs, gold = data.scored
    found = [
        frozenset((min(len(src) - 1, int((j + 0.5) * len(src) / len(tgt))), j) for j in range(len(tgt) if src else 0))
        for src, tgt in pairs
    ]
    return alignment_error_rate(found, gold)


def alignment_section(
    trained: Sequence[Trained], pair: tuple[str, str], to: str, gold: GoldPairs | None = None
) -> Section:
    """The cross-attention of each system on one pair, in words separated by blanks, as pictures; with gold alignments
    between the same languages also its error rates, which then choose the place that is shown.

    `to` is the target language.
    """
    src, tgt = (side.split() for side in pair)
    pictures: list[HeatMap] = []
    rows: list[list[str | Said]] = []
    notes: list[Said] = []
    if gold is not None:
        whole = fitting(gold, [bundle for _, bundle in trained if has_attention(bundle)], to)
        if len(whole.pairs) < len(gold.pairs):
            notes.append(_left_out(len(gold.pairs) - len(whole.pairs), len(gold.pairs)))
        gold = whole if 0 < whole.chosen_on < len(whole.pairs) else None
    for name, bundle in trained:
        tag = tag_of(bundle, to)
        if not has_attention(bundle):
            notes.append(Said(f"{name.en} has no attention: nothing shows.", f"{name.zh} 没有注意力：无可显示。"))
            continue
        if not fits(bundle, (src, tgt), tag):
            most = bundle.model.max_len
            notes.append(
                Said(
                    f"{name.en} takes {most} tokens at most (max_len), and the sentence is cut for it.",
                    f"{name.zh} 最多只能读 {most} 个词元（max_len），因此句子被截短。",
                )
            )
        if gold is None:
            look = sharpest(bundle, src, tgt, tag)
        else:
            found = score_places(bundle, gold, tag)
            [look] = looks(bundle, src, tgt, tag, [found.place])
            rows.append([name, place_said(found.place), *_scores(found.scores)])
        where = place_said(look.place)
        title = Said(f"{name.en}: {where.en}", f"{name.zh}：{where.zh}")
        pictures.append(HeatMap(title, look.tgt, look.src, look.weights))
    tables = []
    if gold is not None:
        rows.append([Said("the diagonal", "对角线"), Said("-", "-"), *_scores(diagonal(gold))])
        tables.append(_table(rows, len(gold.scored[0]), gold.chosen_on))
    return Section(
        Said("Which word comes from which?", "哪个词来自哪个词？"),
        [
            Said(
                "Rows are the tokens of the reference translation, which every system is made to write, columns those "
                "of the source; the darker a cell, the more the decoder looked there. "
                + (
                    "Shown is the place (a head, or the mean of a layer's heads) with the lowest error rate on gold alignments."
                    if gold
                    else "Shown is the place (a head, or the mean of a layer's heads) whose rows tell most about the source."
                ),
                "行是参考译文的词元（让每个系统都写同一个译文），列是源句的词元；格子越深，解码器看得越多。"
                + (
                    "图中选取的位置（某个注意力头，或一层各头的平均）在人工对齐上错误率最低。"
                    if gold
                    else "图中选取的位置（某个注意力头，或一层各头的平均）的各行最能说明源词。"
                ),
            ),
            *notes,
        ],
        [*pictures, *tables],
    )


def _left_out(count: int, total: int) -> Said:
    return Said(
        f"{count} of {total} gold pairs have more tokens than one of the models takes (max_len). They are left out for all.",
        f"{total} 个人工对齐句对中有 {count} 个的词元数超过某个模型的上限（max_len），对所有系统都不计入。",
    )


def place_said(place: Place) -> Said:
    """A place in words, counted from 1."""
    if place.head is None:
        en, zh = f"layer {place.layer + 1}, mean of heads", f"第 {place.layer + 1} 层各头平均"
    else:
        layer, head = place.layer + 1, place.head + 1
        en, zh = f"layer {layer}, head {head}", f"第 {layer} 层第 {head} 头"
    return Said(
        f"{en}, {'reading' if place.after else 'writing'} the word", f"{zh}，{'读入' if place.after else '写出'}该词时"
    )


def _scores(scores: AlignmentScores) -> list[str | Said]:
    return [f"{scores.error_rate:.1f}", f"{scores.precision:.1f}", f"{scores.recall:.1f}"]


def _table(rows: Sequence[Sequence[str | Said]], scored: int, chosen_on: int) -> Table:
    return Table(
        Said(
            f"Alignment error rate, one direction, {scored} gold pairs (the place was chosen on {chosen_on} others)",
            f"对齐错误率（单方向，{scored} 个人工对齐句对；位置在另外 {chosen_on} 对上选定）",
        ),
        [
            Said("System", "系统"),
            Said("Read at", "读取位置"),
            Said("Error rate, %", "错误率（%）"),
            Said("Precision, %", "精确率（%）"),
            Said("Recall, %", "召回率（%）"),
        ],
        rows,
    )
