"""What a run is worth on the test set, measured once and kept."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from sightline.data.evaluation import Example
from sightline.errors import ConfigError
from sightline.files import write_atomically
from sightline.lab.parts import Said
from sightline.lab.probes.complexity import operations_per_token
from sightline.lab.system import FinishedRun, Point, System
from sightline.metrics.settings import MetricSettings
from sightline.metrics.translation import evaluate_translations
from sightline.tasks.search import translate


@dataclass(frozen=True)
class TestSet:
    """The sentences on which all are scored, and how."""

    __test__ = False  # not one of pytest's

    examples: Sequence[Example]
    metric: MetricSettings
    lang: str

    @property
    def sources(self) -> list[str]:
        """The sentences to be translated."""
        return [each.src for each in self.examples]

    @property
    def refs(self) -> list[list[str]]:
        """The references of each."""
        return [list(each.refs) for each in self.examples]

    def digest(self) -> str:
        """Tells it from another one."""
        told = [[asdict(each) for each in self.examples], self.metric.model_dump(), self.lang]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def common_test_set(runs: Sequence[FinishedRun], to: str | None = None) -> TestSet:
    """The test set that all runs have; `to` as for `FinishedRun.test`.

    Raises ConfigError if they have different ones, or score them differently.
    """
    first = runs[0]
    examples, metric = first.test(to), first.recipe.metric
    for run in runs[1:]:
        other = run.test(to)
        if other != examples:
            shared = len({each.src for each in other} & {each.src for each in examples})
            raise ConfigError(
                f"{first.folder} and {run.folder} have different test sets: {len(examples):,} and {len(other):,} sentences "
                f"({_origin(first)}; {_origin(run)}), {shared:,} of them the same. Scores of different sentences do not compare: "
                "train them with the same data.test, or the same corpus and split."
            )
        if run.recipe.metric != metric:
            raise ConfigError(
                f"{first.folder} and {run.folder} are scored differently ({metric.model_dump()} and "
                f"{run.recipe.metric.model_dump()}): train them with the same [metric]."
            )
    return TestSet(examples, metric, examples[0].to or first.prepared.tgt_lang)


def _origin(run: FinishedRun) -> str:
    found = run.prepared.report.sets.get("test")
    return found.origin if found else "of unknown origin"


@dataclass(frozen=True)
class Measured:
    """A run on the test set, with what it took to get there."""

    seed: int
    bleu: float
    signature: str
    chrf: float
    translations: list[str]
    parameters: int
    flops: float
    """Operations of matrix products of a forward pass for each target token: see `operations_per_token`."""
    tokens_per_second: float
    """Target tokens a second in training."""
    minutes: float
    tokens: int
    """Target tokens trained on."""
    precision: str
    threads: int
    curve: list[Point]


@dataclass(frozen=True)
class Outcome:
    """A system and what each of its runs is worth."""

    system: System
    runs: Sequence[Measured]

    @property
    def name(self) -> Said:
        """Of the system."""
        return self.system.name

    @property
    def first(self) -> Measured:
        """Of its first run: for tests of one against another."""
        return self.runs[0]

    @property
    def bleu(self) -> float:
        """The mean of its runs."""
        return self.mean("bleu")

    def mean(self, figure: str) -> float:
        """Of its runs."""
        return sum(getattr(run, figure) for run in self.runs) / len(self.runs)


class Results:
    """A folder of measured runs, a file of JSON each. What belongs to other weights or another test set is measured anew."""

    def __init__(self, folder: Path, test: TestSet) -> None:
        self.folder, self.test = folder, test

    def of(self, system: System, run: FinishedRun) -> Measured:
        """A run on the test set, with the recipe's own decoding."""
        belongs = {"weights": run.weights, "test": self.test.digest(), "decoding": run.recipe.decoding.model_dump()}
        name = f"{system.key}-{run.recipe.train.seed}-{run.weights[:12]}".replace("/", "_")
        path = self.folder / f"{name}.json"
        if (kept := _kept(path, belongs)) is not None:
            return kept
        found = measure(run, self.test)
        write_atomically(path, json.dumps({**belongs, "measured": asdict(found)}, ensure_ascii=False, indent=1))
        return found


def _kept(path: Path, belongs: dict[str, object]) -> Measured | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if any(kept[name] != value for name, value in belongs.items()):
            return None
        found = kept["measured"]
        return Measured(**{**found, "curve": [Point(**each) for each in found["curve"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def measure(run: FinishedRun, test: TestSet) -> Measured:
    """Translate the test set as the recipe says, score it, and count."""
    bundle, recipe = run.bundle, run.recipe
    to = [each.to for each in test.examples]
    with torch.inference_mode():
        found = translate(bundle.model, bundle.tokenizer, test.sources, to, recipe.decoding, recipe.model.max_len)
    hyps = [best[0].text for best in found]
    scores = evaluate_translations(hyps, test.refs, lang=test.lang, settings=test.metric)
    state = run.state
    return Measured(
        seed=recipe.train.seed,
        bleu=scores.bleu,
        signature=scores.bleu_signature,
        chrf=scores.chrf,
        translations=hyps,
        parameters=sum(p.numel() for p in bundle.model.parameters()),
        flops=operations_per_token(bundle.model),
        tokens_per_second=run.tokens_per_second(),
        minutes=state.seconds / 60,
        tokens=state.tokens,
        precision=state.precision,
        threads=state.threads,
        curve=run.curve(),
    )
