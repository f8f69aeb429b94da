"""What is compared: finished runs, and systems, each of which is a recipe that was trained once or with several seeds."""

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from sightline.bundle import Bundle, load_bundle
from sightline.data.evaluation import Example
from sightline.data.prepared import Prepared
from sightline.errors import ConfigError, UserError
from sightline.files import explain_os_errors, sha256
from sightline.lab.parts import Said
from sightline.training.recipe import Recipe, read_recipe
from sightline.training.state import RunState, state_folders


@dataclass(frozen=True)
class Point:
    """A validation on the way."""

    seconds: float
    """Of training and validation until then."""
    tokens: int
    """Target tokens trained on until then."""
    bleu: float
    loss: float


class FinishedRun:
    """A run that came to its end: recipe, record and trained bundle.

    Raises ConfigError if the folder holds no run, UserError if its run is not finished or its record cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "recipe.toml").is_file():
            raise ConfigError(f"{folder} is not the folder of a run: give folders that `sightline train` wrote.")
        self.folder = folder
        self.record = _record(folder)
        if not self.is_finished(folder):
            steps = f" (it is at step {self.record[-1]['step']})" if self.record else ""
            raise UserError(
                f"The run in {folder} is not finished{steps}, so its weights are not chosen yet. Go on with it: "
                f"sightline train {folder}"
            )

    @staticmethod
    def is_finished(folder: Path) -> bool:
        """Whether a run came to its end, and was not begun again since."""
        record = _record(folder)
        return bool(record) and record[-1]["event"] == "finished"

    @cached_property
    def recipe(self) -> Recipe:
        """What it was trained by."""
        return read_recipe(self.folder)

    @cached_property
    def bundle(self) -> Bundle:
        """What it has learned."""
        return load_bundle(self.folder)

    @cached_property
    def weights(self) -> str:
        """The SHA-256 of its weights: another one is another model."""
        return sha256(self.folder / "model.safetensors")

    @cached_property
    def prepared(self) -> Prepared:
        """Its corpus."""
        return Prepared.open(self.folder / "data")

    @cached_property
    def state(self) -> RunState:
        """Where it came to: steps, tokens, seconds, and what was chosen for the machine. Weights and moments are not read.

        Raises UserError if no saved state says so.
        """
        known = {field.name for field in fields(RunState)}
        for path in reversed(state_folders(self.folder / "state")):
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                content = json.loads((path / "state.json").read_text(encoding="utf-8"))
                return RunState(**{name: value for name, value in content["run"].items() if name in known})
        raise UserError(
            f"{self.folder} has no folder `state` that can be read, which says how long it was trained: copy that too."
        )

    def test(self, to: str | None) -> list[Example]:
        """Its test sentences, or those to be translated into the language, or in the direction ("de-en"), that `to` says.

        Raises ConfigError if there are none, or several directions to choose from.
        """
        there = [(each, self._direction(each)) for each in self.prepared.evaluation("test")]
        found = [each for each, way in there if to in (None, each.to or self.prepared.tgt_lang, way)]
        if not found:
            wanted = f" into {to}" if to else ""
            named = f" Directions: {', '.join(sorted({way for _, way in there}))}." if wanted and there else ""
            raise ConfigError(
                f"The run in {self.folder} has no test sentences{wanted}: nothing tells how good it is.{named}"
            )
        if len(ways := {self._direction(each) for each in found}) > 1:
            raise ConfigError(
                f"The run in {self.folder} translates {', '.join(sorted(ways))}: choose one of them with --to."
            )
        return found

    def _direction(self, example: Example) -> str:
        src, tgt = self.prepared.src_lang, self.prepared.tgt_lang
        return example.direction or (f"{src}-{tgt}" if src else tgt)

    def curve(self) -> list[Point]:
        """Its validations. Those of runs that an earlier version trained, which do not say when they were, are left out."""
        return [
            Point(each["seconds"], each["tokens"], each["bleu"], each["loss"])
            for each in self.record
            if each["event"] == "valid" and "seconds" in each
        ]

    def best_loss(self) -> float:
        """The least validation loss on the way, in nats per target token; infinite if none was a number."""
        losses = [each["loss"] for each in self.record if each["event"] == "valid"]
        return min((loss for loss in losses if math.isfinite(loss)), default=math.inf)

    def tokens_per_second(self) -> float:
        """Target tokens a second in training: the median of its steps."""
        return median(each["tokens_per_second"] for each in self.record if each["event"] == "train")


@dataclass(frozen=True)
class System:
    """A recipe and the runs of it, which differ in their seeds."""

    key: str
    name: Said
    runs: Sequence[FinishedRun]

    @property
    def recipe(self) -> Recipe:
        """Of its first run."""
        return self.runs[0].recipe

    @property
    def bundle(self) -> Bundle:
        """Of its first run: what is looked at where one model must do."""
        return self.runs[0].bundle

    @property
    def is_transformer(self) -> bool:
        """Whether it is one."""
        return self.recipe.model.model_dump()["kind"] == "encoder-decoder"


def systems_of(folders: Sequence[Path]) -> list[System]:
    """Runs as systems: those of one recipe but for its name and seed are one system. Names are those of the folders.

    Raises ConfigError for fewer than two runs or one that is given twice, also as a copy, and as `FinishedRun`.
    """
    if len(folders) < 2:
        raise ConfigError("A comparison takes two runs or more: give the folders of finished runs.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"A run is given twice among {', '.join(map(str, folders))}: give each of them once.")
    alike: dict[str, list[FinishedRun]] = {}
    by_weights: dict[str, FinishedRun] = {}
    for run in map(FinishedRun, folders):
        if (other := by_weights.setdefault(run.weights, run)) is not run:
            raise ConfigError(
                f"{other.folder} and {run.folder} have the same weights, so they are one run: give one of them, or train again "
                "with another train.seed."
            )
        alike.setdefault(_sameness(run.recipe), []).append(run)
    names = [folder.resolve().name for folder in folders]
    found = []
    for runs in alike.values():
        first = runs[0].folder
        own = first.resolve().name
        name = own if names.count(own) == 1 else str(first)
        found.append(System(name, Said(name, name), sorted(runs, key=lambda run: run.recipe.train.seed)))
    return found


def _sameness(recipe: Recipe) -> str:
    """All of a recipe that makes a system what it is."""
    tree = recipe.model_dump(mode="json", exclude={"name", "description", "expected"})
    shown_only = ("seed", "save_minutes", "samples", "tensorboard", "threads")
    tree["train"] = {name: value for name, value in tree["train"].items() if name not in shown_only}
    return json.dumps(tree, sort_keys=True)


def _record(folder: Path) -> list[dict[str, Any]]:
    """The events of a run. A last one that was not wholly written is left out: the computer stopped, and the run goes on."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    with explain_os_errors(path, doing="read the log"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    events = [_event(line) for line in lines]
    if events and events[-1] is None:
        del events[-1]
    whole = [event for event in events if event is not None]
    if len(whole) < len(events):
        raise UserError(
            f"{path} line {events.index(None) + 1} is damaged, so the run cannot be compared. Train it again, in another folder."
        )
    return whole


def _event(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"event", "step"} <= found.keys() else None
