"""The verdict in words, made from the numbers."""

from collections.abc import Sequence

from sightline.lab.comparison import Comparison
from sightline.lab.measured import Outcome
from sightline.lab.parts import Said, Section
from sightline.lab.sections.lengths import FEW, name

SEEN = 0.1
"""BLEU by which another must be ahead at a moment or in a group of sentences for it to be told."""
FASTER = 1.05
"""How many times as fast it must train."""


def verdict(found: Comparison) -> Section:
    """Who is ahead, by how much, whether that may be chance; and, of a Transformer among others, where it does not win."""
    text = [_best(found) if len(found.outcomes) > 1 else _alone(found.outcomes[0])]
    if (transformer := found.transformer) is not None:
        text += _against_each(found, transformer)
        losses = [*_earlier(found, transformer), *_by_length(found, transformer), *_cost(found, transformer)]
        text += _where_not(found, transformer, losses)
    return Section(Said("The verdict", "结论"), text)


def _best(found: Comparison) -> Said:
    best, second = found.outcomes[:2]
    pair, lead = found.pair(best, second), best.bleu - second.bleu
    n = len(found.pairs)
    en, zh = (f" for {n} tests", f"，按 {n} 次检验校正") if n > 1 else ("", "")
    return Said(
        f"The highest BLEU is that of {best.name.en}: {best.bleu:.2f}, {lead:.2f} more than the next, {second.name.en}; "
        f"that {'is more than chance' if pair.sure else 'may be chance'} (p = {pair.adjusted:.3f}{en}).",
        f"BLEU 最高的是{_zh(best)}：{best.bleu:.2f}，比第二名{_zh(second)}高 {lead:.2f}；"
        f"这个差别{'不像是偶然' if pair.sure else '可能是偶然'}（p = {pair.adjusted:.3f}{zh}）。",
    )


def _alone(only: Outcome) -> Said:
    scores = [run.bleu for run in only.runs]
    low, high, count = min(scores), max(scores), len(scores)
    if count == 1:
        return Said(f"This is one run: BLEU {only.bleu:.2f}.", f"这是一次训练：BLEU {only.bleu:.2f}。")
    return Said(
        f"These are {count} runs of one recipe: BLEU {only.bleu:.2f} in the mean, from {low:.2f} to {high:.2f}.",
        f"这是同一个配方的 {count} 次训练：BLEU 平均 {only.bleu:.2f}，从 {low:.2f} 到 {high:.2f}。",
    )


def _against_each(found: Comparison, transformer: Outcome) -> list[Said]:
    """The Transformer's score against each other's."""
    won, lost, open_ = list[Outcome](), list[Outcome](), list[Outcome]()
    for other in found.outcomes:
        if other is not transformer:
            sure = found.pair(transformer, other).sure
            (open_ if not sure else won if transformer.bleu > other.bleu else lost).append(other)

    def listed(others: Sequence[Outcome]) -> tuple[str, str]:
        gaps = [f"{transformer.bleu - other.bleu:+.2f}" for other in others]
        en = ", ".join(f"{other.name.en} ({gap})" for other, gap in zip(others, gaps, strict=True))
        return en, "、".join(f"{other.name.zh}（{gap}）" for other, gap in zip(others, gaps, strict=True))

    told = []
    if won:
        en, zh = listed(won)
        told.append(
            Said(
                f"The Transformer is ahead, and more than by chance, of {en}.",
                f"Transformer 领先于下列系统，而且不像是偶然：{zh}。",
            )
        )
    if lost:
        en, zh = listed(lost)
        told.append(
            Said(
                f"The Transformer is behind, and more than by chance: {en}.",
                f"Transformer 落后于下列系统，而且不像是偶然：{zh}。",
            )
        )
    if open_:
        en, zh = listed(open_)
        told.append(
            Said(
                f"Between the Transformer and these the difference may be chance: {en}.",
                f"Transformer 与下列系统的差别可能只是偶然：{zh}。",
            )
        )
    return told


def _earlier(found: Comparison, transformer: Outcome) -> list[Said]:
    """Who was ahead of it on the way: at half of the minutes, and when all had read as much as the one that read least."""
    curves = {each.name: curve for each, curve in zip(found.outcomes, found.curves, strict=True) if curve is not None}
    own = curves.get(transformer.name)
    if own is None or len(curves) < 2:
        return []
    minutes = min(curve.minutes[-1] for curve in curves.values()) / 2
    tokens = min(curve.tokens[-1] for curve in curves.values())
    told = []
    by_minutes = {who: curve.at_minutes(minutes) for who, curve in curves.items()}
    by_tokens = {who: curve.at_tokens(tokens) for who, curve in curves.items()}
    for reached, en, zh in (
        (
            by_minutes,
            f"after {minutes:.1f} minutes, half of the shortest training",
            f"训练 {minutes:.1f} 分钟（最短训练的一半）时",
        ),
        (
            by_tokens,
            f"after {tokens / 1e6:.2f} M target tokens, which all have read",
            f"读过 {tokens / 1e6:.2f} 百万目标词元（所有系统都达到）时",
        ),
    ):
        known = {who: bleu for who, bleu in reached.items() if bleu is not None}
        if transformer.name not in known:
            continue
        ahead = max(known, key=lambda who: known[who])
        gap = known[ahead] - known[transformer.name]
        if ahead != transformer.name and gap >= SEEN:
            told.append(
                Said(
                    f"{en}, {ahead.en} is ahead of it by {gap:.2f} BLEU on the validation set",
                    f"{zh}，{ahead.zh} 在验证集上领先 {gap:.2f} BLEU",
                )
            )
    return told


def _by_length(found: Comparison, transformer: Outcome) -> list[Said]:
    """Groups of sentences in which another has the higher score, told by who that is; where the intervals of both overlap it may
    be chance.
    """
    own = found.lengths[found.outcomes.index(transformer)]
    ahead: dict[Said, list[tuple[str, float, bool]]] = {}
    for i, bucket in enumerate(own):
        others = [(buckets[i], each.name) for each, buckets in zip(found.outcomes, found.lengths, strict=True)]
        best, who = max(others, key=lambda each: each[0].bleu)
        if bucket.n >= FEW and best.bleu >= bucket.bleu + SEEN:
            sure = best.interval[0] > bucket.interval[1]
            ahead.setdefault(who, []).append((name(bucket), best.bleu - bucket.bleu, sure))
    told = []
    for who, groups in ahead.items():
        en = [f"{g} tokens (by {gap:.1f} BLEU{'' if sure else ', which may be chance'})" for g, gap, sure in groups]
        zh = [f"{g} 个词元（高 {gap:.1f} BLEU{'' if sure else '，可能是偶然'}）" for g, gap, sure in groups]
        told.append(
            Said(f"on sources of {', '.join(en)}, {who.en} is ahead", f"源句为 {'、'.join(zh)}时，{who.zh} 领先")
        )
    return told


def _cost(found: Comparison, transformer: Outcome) -> list[Said]:
    """Who trains faster, where all had the same threads and number format, and who computes less."""
    told = []
    fastest = max(found.outcomes, key=lambda each: each.mean("tokens_per_second"))
    conditions = {(run.threads, run.precision) for each in found.outcomes for run in each.runs}
    times = fastest.mean("tokens_per_second") / transformer.mean("tokens_per_second")
    if times >= FASTER and len(conditions) == 1:
        told.append(
            Said(
                f"{fastest.name.en} trains on {times:.2f} times as many tokens a second",
                f"{fastest.name.zh} 每秒训练的词元是它的 {times:.2f} 倍",
            )
        )
    least = min(found.outcomes, key=lambda each: each.first.flops)
    if least is not transformer:
        times = transformer.first.flops / least.first.flops
        told.append(
            Said(
                f"{least.name.en} takes {times:.2f} times fewer operations for each target token",
                f"{least.name.zh} 每个目标词元的运算量只有它的 {1 / times:.2f} 倍",
            )
        )
    return told


def _where_not(found: Comparison, transformer: Outcome, losses: Sequence[Said]) -> list[Said]:
    behind = [each for each in found.outcomes if each.bleu > transformer.bleu]
    if not losses and not behind:
        return [
            Said(
                "In none of these does another do better than the Transformer: BLEU, of all sentences and by length; half of the "
                "time, and as much read; speed of training and operations.",
                "下面各项里，没有别的系统胜过 Transformer：全部句子的 BLEU 和各组长度的 BLEU，一半时间时、读过同样多时的 BLEU，"
                "训练速度和运算量。",
            )
        ]
    if not losses:
        return []
    return [
        Said(
            f"Where the Transformer does not win: {'; '.join(each.en for each in losses)}.",
            f"Transformer 没有赢的地方：{'；'.join(each.zh for each in losses)}。",
        )
    ]


def _zh(outcome: Outcome) -> str:
    return f"“{outcome.name.zh}”"
