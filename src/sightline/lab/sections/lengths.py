"""Quality by the length of the source."""

from sightline.lab.comparison import Comparison
from sightline.lab.parts import Line, LineChart, Said, Section, Table
from sightline.metrics.translation import LengthBucket

FEW = 10
"""Sentences below which a group is in the table only: its score says next to nothing."""


def lengths(found: Comparison) -> Section:
    """BLEU of short and long sentences, with bands of resampled sentences."""
    lines = []
    for outcome, buckets in zip(found.outcomes, found.lengths, strict=True):
        seen = [bucket for bucket in buckets if bucket.n >= FEW]
        low, high = [b.interval[0] for b in seen], [b.interval[1] for b in seen]
        lines.append(Line(outcome.name, [b.mean_length for b in seen], [b.bleu for b in seen], low, high))
    groups = found.lengths[0]
    head = [
        Said("tokens of the source", "源句词元数"),
        Said("sentences", "句数"),
        *(each.name for each in found.outcomes),
    ]
    rows = [
        [name(bucket), str(bucket.n), *(f"{buckets[i].bleu:.1f}" for buckets in found.lengths)]
        for i, bucket in enumerate(groups)
    ]
    text = [
        Said(
            "A model without attention must carry a sentence in one vector of fixed size, and a long one suffers (Cho et al. "
            "2014; Bahdanau et al. 2015, figure 2). Here is what these systems do: BLEU by the length of the source, at the mean "
            "length of each group; the bands hold 95 % of the scores of resampled sentences.",
            "没有注意力的模型要把整句话压进一个固定大小的向量，长句会吃亏（Cho 等 2014；Bahdanau 等 2015，图 2）。"
            "这里是这些系统的实际表现：按源句长度分组的 BLEU，画在每组的平均长度处；色带包含重采样后 95% 的分数。",
        )
    ]
    small = [name(bucket) for bucket in groups if bucket.n < FEW]
    if small:
        text.append(
            Said(
                f"Groups of fewer than {FEW} sentences ({', '.join(small)}) are in the table only.",
                f"不足 {FEW} 句的组（{'、'.join(small)}）只列在表里。",
            )
        )
    length = Said("tokens of the source", "源句词元数")
    chart = LineChart(Said("BLEU by length", "BLEU 与句长"), length, Said("BLEU, test", "BLEU（测试集）"), lines)
    table = Table(Said("BLEU by length", "BLEU 与句长"), head, rows)
    return Section(Said("Short and long sentences", "短句与长句"), text, [chart, table])


def name(bucket: LengthBucket) -> str:
    """Its lengths."""
    return f"{bucket.low}–{bucket.high}" if bucket.high is not None else f"≥ {bucket.low}"
