"""The experiment "why attention": the Transformer and what came before it, on the same data, with as many parameters and for as
long.
"""

from dataclasses import asdict

from sightline.data.survey import Progress
from sightline.lab.compare import compare_systems, sections_of
from sightline.lab.experiment import Contender, Experiment, Scale, Train
from sightline.lab.parts import Said
from sightline.lab.probes.alignment import GoldPairs
from sightline.lab.probes.fresh import CLASSICS
from sightline.lab.probing import Size, all_probes, probed
from sightline.lab.report import Kept, Report
from sightline.lab.sections.budget import budget

NAME = "why-attention"
TITLE = Said("Why attention won", "注意力为什么赢了")
LEAD = Said(
    "The Transformer and what came before it, trained by the same program on the same text with the same number of parameters "
    "and for the same time. What follows was measured, not copied; where the Transformer does not win, it says so.",
    "Transformer 和它的前辈，用同一个程序、同样的语料、同样的参数量、同样的时间训练。下面都是实测结果，不是抄来的；"
    "Transformer 没有赢的地方也照实写出来。",
)
QUIET = ("train.samples=0", "train.tensorboard=false")
RATES = (0.5, 1.0, 2.0)
QUICK = Scale(
    recipe="tatoeba-en-zh-demo",
    minutes=0.9,
    seeds=1,
    settings=("train.best_by=loss", "train.max_validated=200", *QUIET),
)
FULL = Scale(
    recipe="multi30k-en-de-tok",
    minutes=30.0,
    seeds=3,
    settings=("decoding.length_penalty=1.0", *QUIET),  # the recipe's own, above 1, was chosen for the Transformer
    rates=RATES,
    trial_minutes=5.0,
)


def contenders(model: str, d_model: int, dropout: float, few: bool) -> list[Contender]:
    """The Transformer, whose table [model] is given, and its predecessors with embeddings of its width and a dropout of
    theirs. All have the recipe's optimizer, but with `few` steps the predecessors have AdamW, with which their first hundreds
    go faster, and are validated as often as a training of a minute wants.
    """
    shared = f"d_model = {d_model}, embedding_dropout = {dropout}, residual_dropout = {dropout}"
    optimizer = ("train.optimizer=adamw", "train.weight_decay=0.01", "train.lr=0.002") if few else ()
    every = {"transformer": 150, "recurrent": 50, "convolutional": 100} if few else dict.fromkeys(_FAMILIES, 500)

    def recurrent(key: str, more: str, headline: bool = False) -> Contender:
        table = f'{{ kind = "recurrent", {shared}, {more} }}'
        settings = (*optimizer, f"train.validate_every={every['recurrent']}")
        return Contender(key, CLASSICS[key][0], table, "d_state", settings, headline)

    return [
        Contender(
            "transformer",
            CLASSICS["transformer"][0],
            model,
            "",
            (f"train.validate_every={every['transformer']}",),
            headline=True,
        ),
        recurrent(
            "gru-additive",
            'cell = "gru", attention = "additive", attend = "between"',
            headline=True,
        ),
        recurrent("gru", 'cell = "gru", attention = "none"'),
        recurrent(
            "lstm-general",
            'cell = "lstm", attention = "general", attend = "after"',
        ),
        recurrent(
            "elman-additive",
            'cell = "elman", attention = "additive", attend = "between"',
        ),
        Contender(
            "conv",
            CLASSICS["conv"][0],
            f'{{ kind = "convolutional", {shared} }}',
            "d_model",
            (*optimizer, f"train.validate_every={every['convolutional']}"),
        ),
    ]


_FAMILIES = ("transformer", "recurrent", "convolutional")


def quick_contenders() -> list[Contender]:
    """For a minute each on the bundled corpus."""
    model = '{ d_model = 128, n_heads = 4, d_ff = 512, n_encoder_layers = 2, n_decoder_layers = 2, norm_at = "pre" }'
    return contenders(model, 128, 0.1, few=True)


def full_contenders() -> list[Contender]:
    """For half an hour each on Multi30k."""
    model = (
        "{ d_model = 128, n_heads = 4, d_ff = 256, n_encoder_layers = 4, n_decoder_layers = 4, init_std = 0.02, "
        "embedding_dropout = 0.3, residual_dropout = 0.3 }"
    )
    return contenders(model, 128, 0.3, few=False)


def why_attention(
    experiment: Experiment,
    train: Train,
    size: Size,
    command: str,
    gold: GoldPairs | None = None,
    progress: Progress | None = None,
) -> Report:
    """Train what is missing, score all, probe all, and tell it; with `gold` also how good the alignments are.

    Raises what `Experiment.carry_out` raises.
    """
    folder = experiment.folder
    found = compare_systems(experiment.carry_out(train, progress), folder / "results", progress=progress)
    kept = Kept(folder / "sections", command)
    lead, sections = sections_of(found, kept)
    probes = probed(all_probes(found, size, gold), found, kept, size, progress)
    tuned = [[each.key, [asdict(trial) for trial in trials]] for each, trials in experiment.tried()]
    made_of = [*found.made_of(), asdict(experiment.scale), tuned]
    rules = kept.section("budget", made_of, lambda: budget(experiment, found.outcomes))
    return Report(NAME, TITLE, [LEAD, *lead], [*sections, *probes, rules])
