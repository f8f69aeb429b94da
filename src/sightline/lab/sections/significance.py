"""Which differences may be chance."""

from sightline.lab.comparison import ENOUGH, SURE, Comparison
from sightline.lab.parts import Said, Section, Table


def significance(found: Comparison) -> Section:
    """The paired bootstrap of every two systems."""
    head = [
        Said("system", "系统"),
        Said("against", "对比"),
        Said("difference in BLEU", "BLEU 之差"),
        Said("p", "p"),
        Said("p for so many tests", "多重检验校正后的 p"),
        Said("the difference", "差别"),
    ]
    real, chance = Said("is more than chance", "不像是偶然"), Said("may be chance", "可能是偶然")
    rows = [
        [
            pair.a,
            pair.b,
            f"{-pair.difference:+.2f}",
            f"{pair.p_value:.3f}",
            f"{pair.adjusted:.3f}",
            real if pair.sure else chance,
        ]
        for pair in found.pairs
    ]
    text = [
        Said(
            f"The test set is drawn anew {found.resamples:,} times with replacement, the same sentences for both systems "
            "(paired bootstrap, Koehn 2004, as in sacreBLEU). p says how often chance alone would give a difference at least as "
            "large; with many pairs some small p is to be expected, so the next column holds it to the number of tests (Holm "
            f"1979), and {SURE:g} decides. Each system is represented by its run with the first seed: how much seeds differ is "
            "in the table of scores. Where the means of all seeds say that the other is ahead, the difference may be chance.",
            f"对测试集有放回地重采样 {found.resamples:,} 次，两个系统用同样的句子（成对自助法，Koehn 2004，"
            "用 sacreBLEU 的实现）。"
            "p 表示仅凭偶然出现至少这么大差别的频率；比较的对数多了，总会碰上小的 p，所以下一列按检验次数校正（Holm 1979），"
            f"以 {SURE:g} 为界。每个系统用第一个随机种子的那次训练作代表：种子之间的差别见分数表。"
            "如果按所有种子的平均，领先的是另一个，这个差别就可能是偶然。",
        )
    ]
    if (count := len(found.test.examples)) < ENOUGH:
        text.append(
            Said(
                f"There are only {count} sentences: too few to call any difference more than chance.",
                f"只有 {count} 个句子：太少，任何差别都不能说不是偶然。",
            )
        )
    return Section(
        Said("Which differences are more than chance", "哪些差别不是偶然"),
        text,
        [Table(Said("Every pair", "两两比较"), head, rows)],
    )
