"""A run: a recipe, a folder, and everything that training changes."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from sightline.bundle import Bundle, BundleConfig, load_bundle, named_weights, save_bundle, save_weights
from sightline.config import Document, Settings, apply_overrides, dump_toml, parse, read_toml
from sightline.data.prepare import DataSettings, Prepared, prepare
from sightline.data.synthetic import write_copy_corpus
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.protocol import DecodingSettings
from sightline.errors import ConfigError, UserError, nearest
from sightline.files import explain_os_errors, write_atomically
from sightline.metrics.translation import MetricSettings
from sightline.models.build import ModelConfig, build_model
from sightline.tasks.translation import TranslationTask
from sightline.training.card import write_card
from sightline.training.devices import best_device, choose_precision, settle, usable_cores
from sightline.training.optim import Ema, load_weights, make_optimizer
from sightline.training.record import Recorder
from sightline.training.schedule import SCHEDULES, paper_peak
from sightline.training.settings import TrainSettings
from sightline.training.state import (
    Position,
    newest_state,
    optimizer_tensors,
    random_states,
    referenced_snapshots,
    restore_optimizer,
    restore_random_states,
    save_state,
)

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
CORPORA = Path(__file__).resolve().parent.parent / "corpora"
Progress = Callable[[str, int, int | None], None]


class Expected(Settings):
    """The score a recipe must reach, on its test set."""

    score: float
    """At least this much."""
    metric: Literal["bleu", "tokenised_bleu", "chrf"] = "bleu"
    """The kind of score; the signature is in the report of `sightline evaluate`."""
    to: str = ""
    """For this target language, if the model has several."""
    source: str = ""
    """Where the figure comes from."""
    reproduced: str = ""
    """When and how it was reached here; empty: not yet reproduced."""


class Recipe(Settings):
    """Everything about a run: what `sightline train` reads and writes."""

    name: str = "run"
    """Its name."""
    description: str = ""
    """What it is for."""
    task: Literal["translation"] = "translation"
    """What is learned."""
    data: DataSettings
    """The corpus."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """From text to tokens."""
    model: ModelConfig = ModelConfig()
    """The model."""
    train: TrainSettings = TrainSettings()
    """How it is trained."""
    decoding: DecodingSettings = DecodingSettings()
    """How it translates."""
    metric: MetricSettings = MetricSettings()
    """How it is scored."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the saved weights."""
    expected: list[Expected] = Field(default_factory=list)
    """The scores it must reach."""


def recipe_names() -> list[str]:
    """The recipes that come with sightline."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """A recipe by the name of one that comes with sightline, or by its file, with NAME=VALUE settings replaced.

    Raises ConfigError naming the key, its line, the value and the nearest right spelling.
    """
    return parse(Recipe, apply_overrides(_find_recipe(name), overrides))


def _find_recipe(name: str | Path) -> Document:
    path = Path(name)
    if path.suffix == ".toml":
        return read_toml(path)
    if path.is_dir() and (path / "recipe.toml").is_file():
        return read_toml(path / "recipe.toml")
    if not (RECIPES / f"{name}.toml").is_file():
        names = recipe_names()
        raise ConfigError(
            f"There is no recipe '{name}'.{nearest(str(name), names)} Recipes: {', '.join(names)}; or give a .toml file."
        )
    return read_toml(RECIPES / f"{name}.toml")


@dataclass
class Run:
    """A recipe at work in a folder. Made by `start_run`; trained by `fit`."""

    recipe: Recipe
    folder: Path
    task: TranslationTask
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    position: Position
    recorder: Recorder
    device: torch.device
    notes: list[str]
    """What was chosen or noticed at the start, in words."""
    stop_requested: bool = False
    """Set it to have `fit` save and end after the step at hand."""
    last_saved: float = 0.0

    @property
    def settings(self) -> TrainSettings:
        """How it is trained."""
        return self.recipe.train

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        t = self.settings
        peak = t.lr if t.lr is not None else paper_peak(self.recipe.model.d_model, t.warmup)
        return peak * SCHEDULES[t.schedule](t.warmup, t.max_steps)(step)

    def weights(self) -> dict[str, Tensor]:
        """The weights that are validated and kept: the moving average if there is one."""
        return self.ema.tensors if self.ema is not None else named_weights(self.model)

    def save(self) -> None:
        """Save everything needed to go on exactly from here."""
        tensors = {f"model.{name}": tensor for name, tensor in named_weights(self.model).items()}
        tensors |= optimizer_tensors(self.optimizer) | random_states()
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.tensors.items()}
        save_state(self.folder / "state", self.position, tensors)
        self.last_saved = time.monotonic()
        needed = {self.snapshot_path(step) for step in referenced_snapshots(self.folder / "state")}
        for path in (self.folder / "weights").glob("step-*.safetensors"):
            if path not in needed:
                path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Go back to the newest saved state; whether there was one."""
        found = newest_state(self.folder / "state")
        if found is None:
            return False
        position, tensors, problems = found
        self.position = position
        self.notes += problems
        load_weights(self.model, _without("model.", tensors))
        restore_optimizer(self.optimizer, tensors)
        if self.ema is not None:
            saved = _without("ema.", tensors)
            self.ema.tensors = {name: saved[name] for name in self.ema.tensors}  # in the model's order, not the file's
        restore_random_states(tensors)
        return True

    def snapshot_path(self, step: int) -> Path:
        """Where the weights of a validation lie."""
        return self.folder / "weights" / f"step-{step:08d}.safetensors"

    def save_snapshot(self) -> None:
        """Keep the validated weights of this step."""
        save_weights(self.snapshot_path(self.position.step), self.weights())

    def snapshot(self, step: int) -> dict[str, Tensor]:
        """The weights of an earlier validation. Raises UserError if they are gone."""
        path = self.snapshot_path(step)
        with explain_os_errors(path, doing="read the weights"):
            return load_file(path)

    def save_bundle(self, weights: dict[str, Tensor], scores: dict[str, str]) -> None:
        """Write the folder's bundle with these weights and a card that tells their scores."""
        with torch.random.fork_rng(devices=[]):
            model = build_model(
                self.recipe.model, self.task.tokenizer.src_vocab_size, self.task.tokenizer.tgt_vocab_size
            )
        load_weights(model, weights)
        config = BundleConfig(
            name=self.recipe.name,
            task=self.recipe.task,
            src_lang=self.task.prepared.src_lang,
            tgt_lang=self.task.prepared.tgt_lang,
            model=self.recipe.model,
            decoding=self.recipe.decoding,
            metric=self.recipe.metric,
        )
        card = write_card(self.recipe, self.task.prepared, self.position, scores)
        save_bundle(self.folder, Bundle(config, model, self.task.tokenizer, card), self.recipe.precision)


def _without(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def data_folder(recipe: Recipe, folder: Path) -> Path:
    """The folder that a recipe's data paths start from. `data.path = "bundled"` is the corpora that come with sightline,
    "synthetic" a made corpus, written into the run's folder.
    """
    if recipe.data.path == "synthetic":
        write_copy_corpus(folder / "synthetic" / "copy.tsv")
        return folder / "synthetic"
    return CORPORA if recipe.data.path == "bundled" else Path(recipe.data.path)


def prepare_run(recipe: Recipe, folder: Path, progress: Progress | None = None) -> Prepared:
    """Prepare a recipe's corpus in `folder`/data, or reuse it if nothing has changed.

    Raises ConfigError naming the files that the recipe wants and the folder has not.
    """
    check_folder(folder)
    base = data_folder(recipe, folder)
    _check_files(recipe, base)
    tokenizer: TokenizerSettings | Tokenizer = recipe.tokenizer
    if recipe.train.init is not None:
        tokenizer = load_bundle(recipe.train.init).tokenizer
    return prepare(recipe.data, tokenizer, folder / "data", base, progress)


def _check_files(recipe: Recipe, base: Path) -> None:
    """Files that a recipe names without a folder of their own must all be in `base`, and are asked for together."""
    data = recipe.data
    corpora = [*data.train, *(corpus for corpus in (data.valid, data.test) if corpus is not None)]
    wanted = [path for corpus in corpora for path in corpus.paths(base) if path.is_relative_to(base)]
    missing = [path for path in wanted if not path.exists()]
    if missing and len(wanted) > 1:
        there = f"the folder {base}" if recipe.data.path else "the folder you are in"
        raise ConfigError(
            f"{recipe.name} needs {len(wanted)} files, and {there} lacks {len(missing)} of them: "
            f"{', '.join(str(path.relative_to(base)) for path in missing)}. Give the folder that holds them with "
            f"data.path=DIR. What they are: {recipe.description or 'see the recipe.'}"
        )


def start_run(recipe: Recipe, folder: str | Path, progress: Progress | None = None) -> Run:
    """Prepare the data if needed, build the model, and go back to where an earlier run in this folder stopped.

    Raises ConfigError if the folder holds a run of a different recipe, UserError for anything wrong with data or folder.
    """
    folder = Path(folder)
    earlier = check_folder(folder, recipe)
    check_model(recipe)
    prepared = prepare_run(recipe, folder, progress)
    found = newest_state(folder / "state")
    with explain_os_errors(folder, doing="write the run folder"):
        write_atomically(folder / "recipe.toml", dump_toml(recipe))
    position = found[0] if found is not None else Position()
    notes: list[str] = []
    device = best_device()
    _choose_for_machine(recipe.train, position, device, notes)
    settle(position.threads)
    torch.manual_seed(recipe.train.seed)
    model: nn.Module
    if recipe.train.init is not None:
        bundle = load_bundle(recipe.train.init)
        kept = {k: v for k, v in recipe.model.model_dump().items() if k.endswith("dropout")}
        recipe = recipe.model_copy(update={"model": bundle.config.model.model_copy(update=kept)})
        model = build_model(recipe.model, bundle.tokenizer.src_vocab_size, bundle.tokenizer.tgt_vocab_size)
        load_weights(model, named_weights(bundle.model))
    else:
        tokenizer = prepared.tokenizer
        model = build_model(recipe.model, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size)
    model.to(device)
    task = TranslationTask(
        prepared,
        seed=recipe.train.seed,
        batch_tokens=position.batch_tokens,
        label_smoothing=recipe.train.label_smoothing,
        decoding=recipe.decoding,
        metric=recipe.metric,
        max_len=recipe.model.max_len,
        weights=[corpus.weight for corpus in recipe.data.train],
        max_validated=recipe.train.max_validated,
    )
    run = Run(
        recipe=recipe,
        folder=folder,
        task=task,
        model=model,
        optimizer=make_optimizer(model, recipe.train),
        ema=Ema(model, recipe.train.ema) if recipe.train.ema else None,
        position=position,
        recorder=Recorder(folder, position.step, recipe.train.tensorboard),
        device=device,
        notes=notes,
    )
    if found is not None:
        run.restore()
    if earlier is not None and any(getattr(earlier.train, end) != getattr(recipe.train, end) for end in ENDS):
        run.position.finished = False  # it is to train for longer than was said before
    run.last_saved = time.monotonic()
    return run


def _choose_for_machine(settings: TrainSettings, position: Position, device: torch.device, notes: list[str]) -> None:
    """Number format, threads and batch budget: chosen once, then part of the run's state."""
    position.threads = position.threads or settings.threads or usable_cores()
    position.batch_tokens = position.batch_tokens or settings.batch_tokens
    if not position.precision:
        position.precision = settings.precision
        if settings.precision == "auto":
            position.precision, why = choose_precision(device)
            notes.append(f"number format {position.precision}: {why}")


ENDS = ("max_steps", "max_minutes", "patience")
"""The settings that say when training is over; a run may go on with others."""


def check_folder(folder: Path, recipe: Recipe | None = None) -> Recipe | None:
    """The recipe of the run in `folder`, if there is one. Nothing is written.

    Raises UserError if `folder` is a file, ConfigError if the run there differs from `recipe` in more than how long it
    trains and what it shows.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and a run needs a folder. Choose another name with --out.")
    file = folder / "recipe.toml"
    if recipe is None or not file.is_file():
        return None
    earlier = parse(Recipe, read_toml(file))
    free = {*ENDS, "save_minutes", "samples", "tensorboard"}
    changed = _differences(earlier.model_dump(), recipe.model_dump(), "")
    changed = [key for key in changed if key.removeprefix("train.") not in free and not key.startswith("expected")]
    if changed:
        raise ConfigError(
            f"{folder} holds a run with other settings ({', '.join(changed[:4])} differ), and a run goes on only as it "
            "began. Choose another folder with --out, or give the earlier settings."
        )
    return earlier


def check_model(recipe: Recipe) -> None:
    """Raises ConfigError if there can be no such model, which is better said before a corpus is prepared."""
    model = recipe.model
    layers = {name: min(1, getattr(model, name)) for name in ("n_encoder_layers", "n_decoder_layers")}
    with torch.random.fork_rng(devices=[]):
        build_model(model.model_copy(update=layers), 8, 8 if recipe.tokenizer.joint else 9)


def _differences(a: object, b: object, key: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            found
            for name in {**a, **b}
            for found in _differences(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if a == b else [key]
