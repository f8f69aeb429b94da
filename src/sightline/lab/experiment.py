"""An experiment: which systems are compared under which budget, and the training of those that are missing."""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightline.data.survey import Progress
from sightline.errors import ConfigError, nearest
from sightline.files import atomic_folder, write_atomically
from sightline.lab.parts import Said
from sightline.lab.size import size_of
from sightline.lab.system import FinishedRun, System
from sightline.models.config import ModelConfig
from sightline.training.diagnose import NonFiniteError
from sightline.training.loop import fit
from sightline.training.recipe import Recipe, prepare_run, read_recipe
from sightline.training.run import Run
from sightline.training.start import ENDS, check_folder, start_run

CLOSE = 0.03
"""Numbers of parameters that differ by less than this share count as the same."""
NEVER = 1_000_000_000
"""A step that no training comes to: minutes end it."""
DIVERGED = "diverged.txt"
"""Is in the folder of a trial whose loss or gradient was not finite, and says where."""


@dataclass(frozen=True)
class Contender:
    """A system as an experiment describes it."""

    key: str
    name: Said
    model: str
    """The table [model] of its recipe, in one line of TOML."""
    width: str
    """The setting of the model that is chosen so that all have the same number of parameters; "" for the one they follow."""
    settings: Sequence[str] = ()
    """NAME=VALUE, beyond those of all."""
    headline: bool = False
    """Whether it is trained with every seed."""


@dataclass(frozen=True)
class Scale:
    """How large an experiment is made."""

    recipe: str
    """Data, tokeniser, training, search and metric of all."""
    minutes: float
    """Of training, of each run."""
    seeds: int
    """Of the headline systems; the others are trained once."""
    settings: Sequence[str] = ()
    """NAME=VALUE, of all."""
    rates: Sequence[float] = ()
    """Tried learning rates, as multiples of the contender's own; none: no trials."""
    trial_minutes: float = 0.0


@dataclass(frozen=True)
class Job:
    """A run that an experiment needs."""

    contender: Contender
    recipe: Recipe
    folder: Path
    trial: float | None = None
    """The multiple of the learning rate that is tried; None for a run that counts."""

    def __str__(self) -> str:
        what = (
            f"seed {self.recipe.train.seed}" if self.trial is None else f"trial with train.lr={self.recipe.train.lr:g}"
        )
        return f"{self.contender.key}, {what}"


@dataclass(frozen=True)
class Trial:
    """What came of a learning rate that was tried."""

    lr: float | None
    loss: float
    """The least validation loss on the way, in nats per target token; infinite if the training diverged."""


Train = Callable[[Run, Job, int, int], None]
"""Trains a run that is ready, and shows it; the numbers are which of how many it is. Leaves it unfinished if it is stopped."""


def just_train(run: Run, job: Job, number: int, count: int) -> None:
    """Train, and show nothing."""
    for _ in fit(run):
        pass


class Stopped(Exception):
    """The training was stopped by the user, and saved."""


class Experiment:
    """Contenders at a scale, in a folder: `runs/`, `trials/` and what is made of them.

    `overrides` are NAME=VALUE settings of all recipes; what ends a training is not among them, for the scale says that.

    Raises ConfigError naming what cannot be.
    """

    def __init__(
        self, contenders: Sequence[Contender], scale: Scale, folder: Path, overrides: Sequence[str] = ()
    ) -> None:
        self.scale, self.folder = scale, folder
        self.contenders, self.overrides = contenders, overrides
        leader = next((each for each in contenders if not each.width), None)
        if leader is None:
            raise ConfigError("No contender is left whose number of parameters the others follow.")
        self.leader = leader
        """The one whose number of parameters the others follow."""
        self.size = size_of(self._recipe(leader).model, self._recipe(leader).tokenizer.vocab_size)
        """That number, if the vocabulary comes out as large as the recipe asks for."""

    def _recipe(self, contender: Contender) -> Recipe:
        ends = (f"train.max_minutes={self.scale.minutes}", f"train.max_steps={NEVER}")
        given = (f"name={contender.key}", f"model={contender.model}", *ends, *self.scale.settings, *contender.settings)
        meant, recipe = (read_recipe(self.scale.recipe, (*given, *more)) for more in ((), self.overrides))
        for end in ENDS:
            if (value := getattr(recipe.train, end)) != getattr(meant.train, end):
                raise ConfigError(
                    f"train.{end}={value}: all systems train for the same minutes, and nothing else ends a training. Leave "
                    f"train.{end} out, and say how long with --minutes."
                )
        return recipe.model_copy(update={"train": recipe.train.model_copy(update={"patience": None})})

    def recipe(self, contender: Contender) -> Recipe:
        """Of a contender, with as many parameters as the one that all follow."""
        recipe = self._recipe(contender)
        if not contender.width:
            return recipe
        model = with_parameters(recipe.model, contender.width, recipe.tokenizer.vocab_size, self.size)
        return recipe.model_copy(update={"model": model})

    def trials(self, contender: Contender) -> list[Job]:
        """Short runs of a contender, one for each learning rate."""
        recipe = self.recipe(contender)
        if recipe.train.lr is None and self.scale.rates:
            raise ConfigError("train.lr is not given, and the trials try multiples of it: give train.lr=NUMBER.")
        jobs = []
        for number, rate in enumerate(self.scale.rates, 1):
            train = {"lr": rate * (recipe.train.lr or 0.0), "max_minutes": self.scale.trial_minutes}
            tried = recipe.model_copy(
                update={
                    "train": recipe.train.model_copy(update=train),
                    "decoding": recipe.decoding.model_copy(update={"beam": 1}),
                }
            )
            jobs.append(Job(contender, tried, self.folder / "trials" / f"{contender.key}-{number}", rate))
        return jobs

    def jobs(self, contender: Contender, lr: float | None) -> list[Job]:
        """The runs of a contender that count, with this learning rate."""
        recipe = self.recipe(contender)
        first = recipe.train.seed
        return [
            Job(
                contender,
                recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed, "lr": lr})}),
                self.folder / "runs" / f"{contender.key}-{seed}",
            )
            for seed in range(first, first + (self.scale.seeds if contender.headline else 1))
        ]

    def count(self) -> int:
        """How many runs there are, trials included."""
        of_each = [self.scale.seeds if each.headline else 1 for each in self.contenders]
        return sum(of_each) + len(self.scale.rates) * len(self.contenders)

    def carry_out(self, train: Train = just_train, progress: Progress | None = None) -> list[System]:
        """Train what is missing, one after another, and give the systems.

        Raises ConfigError if a folder holds a run of other settings, Stopped if the user stopped a training, which the same
        call goes on with.
        """
        number = 0
        systems = []
        for contender in self.contenders:
            tried = []
            for job in self.trials(contender):
                number += 1
                tried.append(self._tried(job, train, number, progress))
            runs = []
            for job in self.jobs(contender, self.chosen_rate(contender, tried)):
                number += 1
                runs.append(self._trained(job, train, number, progress))
            systems.append(System(contender.key, contender.name, runs))
        return systems

    def chosen_rate(self, contender: Contender, tried: Sequence[Trial]) -> float | None:
        """The learning rate of the trial with the least validation loss; without trials the recipe's own.

        Raises ConfigError if all trials diverged.
        """
        if not tried:
            return self.recipe(contender).train.lr
        best = min(tried, key=lambda trial: trial.loss)
        if math.isinf(best.loss):
            rates = ", ".join(f"{trial.lr:g}" for trial in tried)
            raise ConfigError(
                f"All trials of {contender.key} diverged (train.lr={rates}). Give a lower train.lr=NUMBER, and another folder "
                "with --out."
            )
        return best.lr

    def tried(self) -> Iterator[tuple[Contender, list[Trial]]]:
        """The trials of each contender, once they are carried out."""
        for contender in self.contenders:
            yield contender, [_came_of(job) for job in self.trials(contender)]

    def _tried(self, job: Job, train: Train, number: int, progress: Progress | None) -> Trial:
        """A trial that diverged once would do so again, and is not repeated."""
        check_same(job.folder, job.recipe)
        if not (job.folder / DIVERGED).is_file():
            try:
                self._trained(job, train, number, progress)
            except NonFiniteError as error:
                write_atomically(job.folder / DIVERGED, f"{error}\n")
        return _came_of(job)

    def _trained(self, job: Job, train: Train, number: int, progress: Progress | None) -> FinishedRun:
        if check_same(job.folder, job.recipe):
            return FinishedRun(job.folder)
        self._share_corpus(job, progress)
        run = start_run(job.recipe, job.folder, progress)
        run.state.finished = False  # where its record does not say so, the end was lost and is done once more
        train(run, job, number, self.count())
        if not run.state.finished:
            raise Stopped(f"Stopped and saved at step {run.state.step} of {job}.")
        return FinishedRun(job.folder)

    def _share_corpus(self, job: Job, progress: Progress | None) -> None:
        """All runs have the same corpus, so it is prepared once."""
        if (job.folder / "data").is_dir():
            return
        prepare_run(job.recipe, self.folder, progress)
        with atomic_folder(job.folder / "data") as partial:
            shutil.copytree(self.folder / "data", partial, dirs_exist_ok=True)


def _came_of(trial: Job) -> Trial:
    diverged = (trial.folder / DIVERGED).is_file()
    return Trial(trial.recipe.train.lr, math.inf if diverged else FinishedRun(trial.folder).best_loss())


def check_same(folder: Path, recipe: Recipe) -> bool:
    """Whether the run of this recipe in `folder` is finished.

    Raises ConfigError if the folder holds a run of another recipe, or one that was to train for another time.
    """
    earlier = check_folder(folder, recipe)
    if earlier is None:
        return False
    changed = [end for end in ENDS if getattr(earlier.train, end) != getattr(recipe.train, end)]
    if changed:
        said = ", ".join(
            f"train.{end} was {getattr(earlier.train, end)} and is now {getattr(recipe.train, end)}" for end in changed
        )
        raise ConfigError(
            f"{folder} holds a run with another budget ({said}), and a report compares runs of one budget. Choose another "
            "folder with --out, give the earlier budget, or delete that run to have it trained again."
        )
    return FinishedRun.is_finished(folder)


def with_parameters(model: ModelConfig, width: str, vocab_size: int, wanted: int) -> ModelConfig:
    """The model with the `width` whose number of parameters (see `size.counted`) is nearest to `wanted`: a multiple of 8 for each
    head, or where none of those comes near, of its heads.

    Raises ConfigError if none comes near.
    """

    def sized(value: int) -> ModelConfig:
        return type(model).model_validate({**model.model_dump(), width: value})

    def off(each: ModelConfig) -> float:
        return abs(size_of(each, vocab_size) / wanted - 1)

    found = model
    for unit in (8 * model.n_heads, model.n_heads):
        low, high = 1, 2
        while size_of(sized(high * unit), vocab_size) < wanted:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if size_of(sized(middle * unit), vocab_size) < wanted else (low, middle)
        found = min((sized(n * unit) for n in (low, high)), key=off)
        if off(found) <= CLOSE:
            return found
    raise ConfigError(
        f"No model.{width} gives the {model.model_dump()['kind']} model {wanted:,} parameters: the nearest is off by "
        f"{off(found):.0%}. Give it fewer layers, or all a larger model."
    )


def chosen(contenders: Sequence[Contender], only: Sequence[str]) -> list[Contender]:
    """Those with these keys; all without any. The one that the others follow is always among them.

    Raises ConfigError for a key that there is not.
    """
    keys = [each.key for each in contenders]
    for key in only:
        if key not in keys:
            raise ConfigError(f"--only {key}: there is no such system.{nearest(key, keys)} Systems: {', '.join(keys)}.")
    return [each for each in contenders if not only or each.key in only or not each.width]
