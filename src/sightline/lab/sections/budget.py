"""Under which budget the systems were trained, and how each was tuned."""

import math
from collections.abc import Sequence

from sightline.lab.experiment import CLOSE, Experiment
from sightline.lab.measured import Outcome
from sightline.lab.parts import Said, Section, Table
from sightline.lab.size import counted


def budget(experiment: Experiment, outcomes: Sequence[Outcome]) -> Section:
    """The rules of the experiment, and the trials with what came of them."""
    scale = experiment.scale
    text = [
        Said(
            f"All are trained on the same data ({scale.recipe}), with the same tokeniser, trainer, search and metric, for "
            f"{scale.minutes:g} minutes each. What the minutes buy depends on the machine below and on how well each layer is "
            "written for it.",
            f"所有系统用同样的数据（{scale.recipe}）、同样的分词器、训练程序、搜索和评分方法，各训练 {scale.minutes:g} 分钟。"
            "同样的分钟数能换来多少训练，取决于下面写的机器，也取决于各种层在这台机器上实现得好不好。",
        ),
        _sizes(experiment, outcomes),
    ]
    parts = []
    if scale.rates:
        text.append(
            Said(
                f"Each was tuned alike: {len(scale.rates)} trials of {scale.trial_minutes:g} minutes with other learning rates; "
                "the one with the least validation loss was taken. Here are all of them.",
                f"各系统的调参机会相同：用不同的学习率各做 {len(scale.rates)} 次试验，每次 {scale.trial_minutes:g} 分钟，"
                "取验证损失最小的。全部试验列在这里。",
            )
        )
        parts = [_trials(experiment)]
    else:
        text.append(
            Said(
                "No trials were made in this quick version: the learning rates were chosen beforehand.",
                "这个快速版本没有做试验：学习率是事先定好的。",
            )
        )
    return Section(Said("The rules", "规则"), text, [*parts, _recipes(experiment, outcomes)])


def _sizes(experiment: Experiment, outcomes: Sequence[Outcome]) -> Said:
    sizes = {each.system.key: counted(each.system.bundle.model) for each in outcomes}
    least, most = min(sizes.values()), max(sizes.values())
    off = max(abs(size / sizes[experiment.leader.key] - 1) for size in sizes.values())
    tables = Said(
        "Tables of learned positions are not counted: most of their rows stand for places that no sentence reaches.",
        "学到的位置表不计在内：其中大多数行对应的位置，没有句子长得能用到。",
    )
    if off <= CLOSE:
        return Said(
            f"They have the same number of parameters: {least:,} to {most:,}, at most {off:.1%} from the Transformer's (up to "
            f"{CLOSE:.0%} counts as the same). {tables.en}",
            f"参数量也相同：{least:,} 到 {most:,}，与 Transformer 最多差 {off:.1%}（{CLOSE:.0%} 以内算相同）。{tables.zh}",
        )
    return Said(
        f"They do not have the same number of parameters: {least:,} to {most:,}, up to {off:.1%} from the Transformer's. Widths "
        "were chosen for as large a vocabulary as the recipe asks for (tokenizer.vocab_size), and the corpus gave another. "
        f"{tables.en}",
        f"参数量并不相同：{least:,} 到 {most:,}，与 Transformer 最多差 {off:.1%}。宽度是按配方要求的词表大小"
        f"（tokenizer.vocab_size）选的，而语料得出的词表大小不同。{tables.zh}",
    )


def _trials(experiment: Experiment) -> Table:
    head = [Said("system", "系统"), Said("train.lr", "train.lr"), Said("validation loss", "验证损失"), Said("", "")]
    rows: list[list[str | Said]] = []
    for contender, trials in experiment.tried():
        taken = experiment.chosen_rate(contender, trials)
        for trial in trials:
            loss = Said("diverged", "发散") if math.isinf(trial.loss) else f"{trial.loss:.3f}"
            mark = Said("taken", "选中") if trial.lr == taken else Said("", "")
            rows.append([contender.name, f"{trial.lr:g}", loss, mark])
    return Table(Said("Trials", "调参试验"), head, rows)


def _recipes(experiment: Experiment, outcomes: Sequence[Outcome]) -> Table:
    head = [
        Said("system", "系统"),
        Said("model", "模型"),
        Said("train.optimizer", "train.optimizer"),
        Said("train.lr", "train.lr"),
    ]
    rows: list[list[str | Said]] = []
    for outcome in outcomes:
        recipe = outcome.system.recipe
        given = recipe.model.model_dump(exclude_defaults=True) | {"kind": recipe.model.model_dump()["kind"]}
        said = ", ".join(f"{name} = {value}" for name, value in given.items())
        rows.append([outcome.name, said, recipe.train.optimizer, f"{recipe.train.lr:g}" if recipe.train.lr else "–"])
    return Table(Said("Recipes", "配方"), head, rows)
