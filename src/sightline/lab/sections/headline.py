"""The table of the report: what each system is worth, and what it took."""

from sightline.lab.comparison import Comparison
from sightline.lab.measured import Outcome
from sightline.lab.parts import Said, Section, Table
from sightline.lab.probes.complexity import SENTENCE
from sightline.metrics.translation import BleuInterval

HEAD = (
    Said("system", "系统"),
    Said("BLEU", "BLEU"),
    Said("from – to", "从 – 到"),
    Said("runs", "次数"),
    Said("chrF", "chrF"),
    Said("parameters", "参数量"),
    Said("MFLOP per target token", "每个目标词元的 MFLOP"),
    Said("tokens/s in training", "训练速度（词元/秒）"),
    Said("minutes trained", "训练分钟数"),
    Said("tokens trained, M", "训练词元数（百万）"),
    Said("format", "数值格式"),
    Said("threads", "线程"),
)


def headline(found: Comparison) -> Section:
    """All systems, the best first."""
    rows = [_row(outcome, interval) for outcome, interval in zip(found.outcomes, found.intervals, strict=True)]
    signature = found.outcomes[0].first.signature
    count = len(found.test.examples)
    several = any(len(each.runs) > 1 for each in found.outcomes)
    text = [
        Said(
            f"BLEU of {count:,} test sentences, the same for all, translated with each recipe's own search; the kind of BLEU is "
            f"{signature}. From – to: for one run the 95 % interval over resampled sentences"
            + (", for several the lowest and the highest of them, BLEU being their mean." if several else "."),
            f"{count:,} 个测试句子的 BLEU，所有系统用同一批句子，各用自己配方里的搜索方法翻译；BLEU 的算法签名是 {signature}。"
            + "“从 – 到”：只训练一次时，是对句子重采样得到的 95% 区间"
            + ("；训练多次时，是其中最低和最高的分数，BLEU 取平均。" if several else "。"),
        ),
        Said(
            f"MFLOP: millions of operations of the matrix products of a forward pass over {SENTENCE} tokens on each side, or as "
            "many as a model takes, output layer included, for each target token. Parameters are all there are, tables of "
            "learned positions among them. Tokens are target tokens, without padding; minutes are those of training with its "
            "validations.",
            f"MFLOP：一次前向计算中矩阵乘法的运算量（百万次），两边各 {SENTENCE} 个词元（或模型能读的最多词元），含输出层，"
            "平摊到每个目标词元。参数量是全部参数，包括学到的位置表。词元指目标端词元，不算填充；分钟数包括训练途中的验证。",
        ),
    ]
    return Section(
        Said("The scores, and what they took", "分数与代价"), text, [Table(Said("Systems", "各系统"), HEAD, rows)]
    )


def _row(outcome: Outcome, interval: BleuInterval) -> list[str | Said]:
    scores = [run.bleu for run in outcome.runs]
    low, high = (interval.low, interval.high) if len(scores) == 1 else (min(scores), max(scores))
    return [
        outcome.name,
        f"{outcome.bleu:.2f}",
        f"{low:.1f} – {high:.1f}",
        str(len(scores)),
        f"{outcome.mean('chrf'):.2f}",
        f"{outcome.first.parameters:,}",
        f"{outcome.first.flops / 1e6:.2f}",
        f"{outcome.mean('tokens_per_second'):,.0f}",
        f"{outcome.mean('minutes'):.1f}",
        f"{outcome.mean('tokens') / 1e6:.2f}",
        outcome.first.precision,
        str(outcome.first.threads),
    ]
