"""Which probes a report has beside its scores, and how large they are made."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from sightline.data.survey import Progress
from sightline.lab.comparison import Comparison
from sightline.lab.parts import Section
from sightline.lab.probes.alignment import GoldPairs, alignment_section
from sightline.lab.probes.complexity import complexity_section
from sightline.lab.probes.fresh import FIRST_WORD, classics
from sightline.lab.probes.gradients import deep_systems, gradient_systems, gradients_section
from sightline.lab.probes.permutation import permutation_section
from sightline.lab.probes.recall import WORDS, Practice, recall_section
from sightline.lab.probes.receptive import receptive_section
from sightline.lab.probes.speed import speed_section
from sightline.lab.report import Kept, Shown

SHOWN_WORDS = range(7, 13)
"""How many words the source has of the test sentence whose attention is shown: the first such sentence."""


@dataclass(frozen=True)
class Size:
    """How large the probes are made."""

    lengths: Sequence[int]
    """Of sentences whose speed is measured."""
    tokens: int
    """Of a batch of them."""
    rows: int
    """Sentences translated at once."""
    repetitions: int
    """Of which the median is taken."""
    distances: Sequence[int]
    """Over which gradients travel."""
    seeds: int
    """First weights over which gradients are averaged."""
    asked_at: Sequence[int]
    """Distances at which the first word is to be recalled."""
    practice: Practice
    parameters: int
    """Of the models that practise it."""


QUICK = Size(
    lengths=(8, 16, 32, 64),
    tokens=512,
    rows=8,
    repetitions=2,
    distances=(1, 2, 4, 8, 16, 32, 64),
    seeds=1,
    asked_at=(2, 4, 8, 16, 32),
    practice=Practice(steps=600, seconds=8),
    parameters=40_000,
)
FULL = Size(
    lengths=(8, 16, 32, 64, 128, 256),
    tokens=2048,
    rows=16,
    repetitions=3,
    distances=(1, 2, 4, 8, 16, 32, 64, 128),
    seeds=3,
    asked_at=(2, 4, 8, 16, 32, 64, 128, 256, 512),
    practice=Practice(steps=4000, seconds=900),
    parameters=100_000,
)


def shown_pair(found: Comparison) -> tuple[str, str]:
    """The test sentence whose attention is shown, and its first reference."""
    fitting = (each for each in found.test.examples if len(each.src.split()) in SHOWN_WORDS)
    example = next(fitting, found.test.examples[0])
    return example.src, example.refs[0]


@dataclass(frozen=True)
class Probe:
    """What makes a section."""

    make: Callable[[], Section]
    made_of: Sequence[object] = ()
    """What it takes beside the systems and the size: values that JSON can hold."""


def trained_probes(found: Comparison, gold: GoldPairs | None) -> dict[str, Probe]:
    """Those that look at what was trained, whatever it is."""
    trained = [(each.name, each.system.bundle) for each in found.outcomes]
    made_of = [] if gold is None else [gold.digest()]
    return {"alignment": Probe(lambda: alignment_section(trained, shown_pair(found), found.test.lang, gold), made_of)}


def all_probes(found: Comparison, size: Size, gold: GoldPairs | None) -> dict[str, Probe]:
    """Those of a whole experiment, in the order of the page."""
    trained = [(each.name, each.system.bundle) for each in found.outcomes]
    made = [(each.name, each.system.recipe.model) for each in found.outcomes]
    vocab_size = found.outcomes[0].system.bundle.tokenizer.tgt_vocab_size
    keys = [each.system.key for each in found.outcomes]
    pairs = [(each.src, each.refs[0]) for each in found.test.examples]
    return {
        "speed": Probe(lambda: speed_section(made, vocab_size, size.lengths, size.tokens, size.rows, size.repetitions)),
        "complexity": Probe(lambda: complexity_section(made, vocab_size)),
        "gradients": Probe(
            lambda: gradients_section(
                gradient_systems(), trained, pairs, deep_systems(), size.distances, seeds=size.seeds
            )
        ),
        "recall": Probe(
            lambda: recall_section(classics(keys, size.parameters, FIRST_WORD + WORDS), size.asked_at, size.practice)
        ),
        "receptive": Probe(lambda: receptive_section([], trained)),
        **trained_probes(found, gold),
        "permutation": Probe(lambda: permutation_section(trained=trained, to=found.test.lang)),
    }


def probed(
    probes: dict[str, Probe],
    found: Comparison,
    kept: Kept,
    size: Size | None,
    progress: Progress | None,
) -> list[Shown]:
    """The sections of the probes; what was probed before, of the same models and in the same size, is kept."""
    made_of = [*found.made_of(), None if size is None else asdict(size)]
    shown = []
    for number, (name, probe) in enumerate(probes.items()):
        if progress is not None:
            progress("probes", number, len(probes))
        shown.append(kept.section(name, [*made_of, *probe.made_of], probe.make))
    if progress is not None:
        progress("probes", len(probes), len(probes))
    return shown
