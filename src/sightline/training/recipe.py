"""A recipe: everything about a run, in one TOML file."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sightline.bundle import load_bundle
from sightline.config import Document, Settings, apply_overrides, parse, read_toml
from sightline.data.prepare import prepare
from sightline.data.prepared import Prepared, reopen
from sightline.data.settings import DataSettings
from sightline.data.survey import Progress
from sightline.data.synthetic import write_copy_corpus
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.errors import ConfigError, UserError, nearest
from sightline.metrics.settings import MetricSettings
from sightline.models.config import AnyModelConfig, TransformerConfig
from sightline.training.settings import TrainSettings
from sightline.training.state import state_folders

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


class Expected(Settings):
    """The score a recipe must reach, on its test set."""

    score: float
    """At least this much."""
    metric: Literal["bleu", "tokenised_bleu", "chrf"] = "bleu"
    """The kind of score; the signature is in the report of `sightline evaluate`."""
    direction: str = ""
    """For this direction, such as en-zh, if the model has several."""
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
    model: AnyModelConfig = TransformerConfig()
    """The model."""
    train: TrainSettings = TrainSettings()
    """How it is trained."""
    decoding: DecodingSettings = DecodingSettings()
    """How it translates."""
    metric: MetricSettings = MetricSettings()
    """How it is scored."""
    saved_precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the saved weights."""
    expected: list[Expected] = Field(default_factory=list)
    """The scores it must reach."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.+ -]*", name):
            raise ValueError(
                "a name is letters, digits, '_', '-', '.', '+' and blanks, and begins with one of the first three"
            )
        return name

    @model_validator(mode="after")
    def _rows_can_be_packed(self) -> "Recipe":
        if self.train.compile and not isinstance(self.model, TransformerConfig):
            raise ValueError(
                f"train.compile = true packs several sentences into a row, and model.kind = {self.model.kind} takes one: "
                "leave train.compile out."
            )
        return self


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
        own = " To train on a corpus of your own, give it by --data, or by --src and --tgt." if path.suffix else ""
        raise ConfigError(
            f"There is no recipe '{name}'.{nearest(str(name), names)} Recipes: {', '.join(names)}; or give a .toml file.{own}"
        )
    return read_toml(RECIPES / f"{name}.toml")


def data_folder(recipe: Recipe, folder: Path) -> Path:
    """The folder that a recipe's data paths start from. `data.path = "synthetic"` is a made corpus, written into the run's
    folder.
    """
    if recipe.data.path == "synthetic":
        write_copy_corpus(folder / "synthetic" / "copy.tsv")
        return folder / "synthetic"
    return Path(recipe.data.path).expanduser()


def prepare_run(recipe: Recipe, folder: Path, progress: Progress | None = None) -> Prepared:
    """Prepare a recipe's corpus in `folder`/data, or reuse it if nothing has changed. A run that was begun goes on with the
    corpus it began with, whose files may be gone by then.

    Raises ConfigError naming the files that the recipe wants and the folder has not, DataError if the text changed.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and a run needs a folder. Choose another name with --out.")
    base = data_folder(recipe, folder)
    most = min(recipe.data.max_len, recipe.model.max_len)
    data = recipe.data.model_copy(update={"max_len": most})
    if state_folders(folder / "state") and (folder / "data" / "meta.json").is_file():
        return reopen(data, folder / "data", base)
    _check_files(recipe, base)
    tokenizer: TokenizerSettings | Tokenizer = recipe.tokenizer
    if recipe.train.init is not None:
        tokenizer = load_bundle(recipe.train.init).tokenizer
    return prepare(data, tokenizer, folder / "data", base, progress)


def _check_files(recipe: Recipe, base: Path) -> None:
    """Files that a recipe names without a folder of their own must all be in `base`, and are asked for together."""
    corpora = recipe.data.corpora()
    wanted = list(dict.fromkeys(path for corpus in corpora for path in corpus.paths(base) if path.is_relative_to(base)))
    missing = [path for path in wanted if not path.exists()]
    if recipe.data.path and not base.is_dir():
        raise ConfigError(f'data.path = "{base}": there is no such folder.')
    if missing and len(wanted) > 1:
        there = f"the folder {base}" if recipe.data.path else "the folder you are in"
        raise ConfigError(
            f"{recipe.name} needs {len(wanted)} files, and {there} lacks {len(missing)} of them: "
            f"{', '.join(str(path.relative_to(base)) for path in missing)}. Give the folder that holds them with "
            f"data.path=DIR. What they are: {recipe.description or 'see the recipe.'}"
        )
