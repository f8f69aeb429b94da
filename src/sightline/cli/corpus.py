"""What `train` and `prepare` are given: a recipe, or somebody's own files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from sightline.data.sources import CorpusSettings
    from sightline.data.survey import Progress
    from sightline.training.recipe import Recipe

RecipeName = Annotated[
    str | None,
    typer.Argument(metavar="RECIPE", help="A recipe that comes with sightline, a .toml file, or the folder of a run."),
]
Replaced = Annotated[
    list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Settings to replace, as in train.max_steps=2000.")
]
SourceFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Your own corpus: source sentences, one a line.")]
TargetFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations, line by line.")]
PairsFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Your own corpus in one file: TSV, CSV or JSONL.")]
SourceLanguage = Annotated[str, typer.Option(metavar="LANG", help="Language of the source: en, zh ...")]
TargetLanguage = Annotated[str, typer.Option(metavar="LANG", help="Language of the target.")]
RunFolder = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run; runs/NAME without it.")]


def chosen_recipe(
    recipe: str | None,
    settings: list[str],
    src: Path | None,
    tgt: Path | None,
    data: Path | None,
    src_lang: str,
    tgt_lang: str,
    out: Path | None,
    progress: "Progress",
) -> "tuple[Recipe, Path, list[str]]":
    """The recipe, the run's folder, and the reasons for what was chosen, where something was. For files of one's own some
    steps of training are timed, unless their number is given, to say how many there can be.

    Raises ConfigError if neither or both of a recipe and files were given.
    """
    from sightline.training.recipe import read_recipe, recipe_names

    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        settings, recipe = [recipe, *settings], None
    own = src is not None or tgt is not None or data is not None
    if own and recipe is not None:
        raise ConfigError(f"Both a recipe ({recipe}) and files of your own were given: give one of the two.")
    if not own:
        if recipe is None:
            raise ConfigError(
                "Give a recipe (as in: sightline train tatoeba-en-zh) or your own corpus "
                "(as in: sightline train --src corpus.en --tgt corpus.de --out runs/mine). "
                f"Recipes: {', '.join(recipe_names())}."
            )
        chosen = read_recipe(recipe, settings)
        begun = Path(recipe) if Path(recipe).is_dir() else None  # the folder of a run goes on in that folder
        return chosen, out or begun or Path("runs") / chosen.name, []
    return _derived(src, tgt, data, src_lang, tgt_lang, settings, out, progress)


def _derived(
    src: Path | None,
    tgt: Path | None,
    data: Path | None,
    src_lang: str,
    tgt_lang: str,
    settings: list[str],
    out: Path | None,
    progress: "Progress",
) -> "tuple[Recipe, Path, list[str]]":
    from sightline.config import Document, apply_overrides, parse
    from sightline.data.settings import DataSettings
    from sightline.data.sources import CorpusSettings
    from sightline.training.derive import MINUTES, derive, measure
    from sightline.training.rate import training_rate
    from sightline.training.recipe import Recipe
    from sightline.training.start import check_model

    if data is not None and (src is not None or tgt is not None):
        raise ConfigError("Give either --data with one file, or --src and --tgt with two.")
    if data is None and (src is None or tgt is None):
        raise ConfigError(
            f"--{'tgt' if tgt is None else 'src'} is missing: two files are needed, line by line, or one --data."
        )
    name = re.sub(r"[^\w+-]+", "-", (data or tgt or Path("run")).name.split(".")[0]).strip("-+") or "run"
    folder = out or Path("runs") / name
    if data is not None:
        about = {"pairs": str(data.absolute()), "src_lang": src_lang, "tgt_lang": tgt_lang}
    else:
        about = {
            "src": str(Path(src or "").absolute()),
            "tgt": str(Path(tgt or "").absolute()),
            "src_lang": src_lang or _language(src),
            "tgt_lang": tgt_lang or _language(tgt),
        }
    corpus = parse(CorpusSettings, Document(about))
    if (folder / "recipe.toml").is_file():  # a run that was begun goes on as it was derived
        return _begun(folder, corpus, settings), folder, [f"settings as in {folder / 'recipe.toml'}"]
    about_it = [setting for setting in settings if setting.startswith("data.train.")]
    named = apply_overrides(Document({"train": [corpus.model_dump(exclude_none=True)]}), [s[5:] for s in about_it])
    corpus = parse(DataSettings, named).train[0]

    def with_settings(recipe: Recipe) -> Recipe:
        return parse(Recipe, apply_overrides(Document(recipe.model_dump(exclude_none=True)), settings))

    def rate(recipe: Recipe) -> float:
        trained = with_settings(recipe)
        check_model(trained)
        return training_rate(trained.model, trained.tokenizer.vocab_size, trained.train)

    found = measure(corpus, Path(), progress)
    minutes = with_settings(derive(corpus, found, name)[0]).train.max_minutes or MINUTES
    timed = not any(setting.startswith("train.max_steps=") for setting in settings)
    if timed:
        progress("timing some steps of training", 0, 1)
    recipe, reasons = derive(corpus, found, name, rate if timed else None, minutes)
    return with_settings(recipe), folder, [reason.said(settings) for reason in reasons]


def _begun(folder: Path, corpus: "CorpusSettings", settings: list[str]) -> "Recipe":
    """The recipe of a run that was begun with these files. Raises ConfigError if it was begun with others."""
    from sightline.training.recipe import read_recipe

    recipe = read_recipe(folder / "recipe.toml", settings)
    earlier = recipe.data.train[0]
    if (earlier.src, earlier.tgt, earlier.pairs) != (corpus.src, corpus.tgt, corpus.pairs):
        raise ConfigError(
            f"{folder} holds a run on another corpus ({earlier.names()}). Choose another folder with --out, or go on with "
            f"that run: sightline train {folder}"
        )
    for name in ("src_lang", "tgt_lang"):
        asked, had = getattr(corpus, name), getattr(earlier, name)
        if asked and asked != had:
            raise ConfigError(
                f"{folder} holds a run whose {name} is '{had}', not '{asked}'. Choose another folder with --out, or go on with "
                f"that run: sightline train {folder}"
            )
    return recipe


def _language(path: Path | None) -> str:
    """The language that a file's name ends with, as in corpus.de or corpus.de.gz."""
    from sightline.data.lines import COMPRESSED

    plain = {*(ending[1:] for ending in COMPRESSED), "txt"}
    parts = [part for part in (path.name if path else "").split(".")[1:] if part not in plain]
    return parts[-1] if parts and len(parts[-1]) == 2 and parts[-1].isalpha() else ""
