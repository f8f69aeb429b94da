"""Quality as training goes on, by the clock and by what was read."""

from sightline.lab.comparison import Comparison
from sightline.lab.parts import Line, LineChart, Said, Section

BLEU = Said("BLEU, validation", "BLEU（验证集）")


def learning(found: Comparison) -> Section:
    """A curve for each system whose record says when it was validated."""
    by_time, by_tokens = [], []
    for outcome, curve in zip(found.outcomes, found.curves, strict=True):
        if curve is None:
            continue
        band = (curve.low, curve.high) if len(outcome.runs) > 1 else (None, None)
        by_time.append(Line(outcome.name, curve.minutes, curve.bleu, *band))
        by_tokens.append(Line(outcome.name, [n / 1e6 for n in curve.tokens], curve.bleu, *band))
    beams = sorted({each.system.recipe.train.validation_beam for each in found.outcomes})
    greedy, wide = beams == [1], ", ".join(map(str, beams))
    en, zh = ("greedily", "贪心") if greedy else (f"with a beam of {wide}", f"用宽度为 {wide} 的束搜索")
    left_out = [each.name for each, curve in zip(found.outcomes, found.curves, strict=True) if curve is None]
    text = [
        Said(
            "Two budgets, seen in the same trainings. The first chart is read at equal minutes, the second at equal "
            f"numbers of target tokens, however long those took. BLEU is that of the validation set, translated {en}. "
            "Where a system was trained with several seeds, the line is their mean and the band reaches from the lowest to the "
            "highest.",
            "同一批训练，按两种预算来看。第一张图按同样的分钟数比较，第二张图按同样的目标词元数比较，不管花了多久。"
            f"BLEU 是在验证集上{zh}翻译得到的。用多个随机种子训练的系统，曲线是平均值，色带从最低到最高。",
        )
    ]
    if left_out:
        text.append(
            Said(
                f"Left out, for their records do not say when they were validated: {', '.join(n.en for n in left_out)}.",
                f"未画出（记录里没有验证的时刻）：{'、'.join(n.zh for n in left_out)}。",
            )
        )
    minutes, tokens = Said("minutes of training", "训练分钟数"), Said("target tokens read, M", "读过的目标词元（百万）")
    parts = [
        LineChart(Said("Quality by minutes", "质量与训练时间"), minutes, BLEU, by_time),
        LineChart(Said("Quality by tokens", "质量与词元数"), tokens, BLEU, by_tokens),
    ]
    return Section(Said("Who learns faster", "谁学得快"), text, parts if by_time else [])
