"""The card of a bundle: what it is, what it learned from, how good it is, and the command that made it."""

import json
import shlex
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from sightline.data.prepared import Prepared
from sightline.errors import UserError
from sightline.training.recipe import RECIPES, Recipe, read_recipe, recipe_names
from sightline.training.state import RunState


def _version() -> str:
    try:
        return version("sightline")
    except PackageNotFoundError:
        return "from a source tree that is not installed"


def write_card(recipe: Recipe, prepared: Prepared, state: RunState, scores: dict[str, str]) -> str:
    """Markdown. `scores` maps what was scored to the figures with their signatures."""
    fields = recipe.model_dump()
    files = "".join(f"| {name} | {digest} |\n" for name, digest in prepared.hashes.items())
    figures = "".join(f"- {name}: {said}\n" for name, said in scores.items())
    train = fields["train"]
    return f"""# {fields["name"]}

{fields["description"] or "A translator trained by sightline."}

{figures}
Trained for {state.step} steps ({state.tokens:,} target tokens, {state.epoch} epochs and {state.batch} batches,
{state.seconds / 60:.0f} minutes) in {state.precision} on {state.threads} threads, seed {train["seed"]},
sightline {_version()}, torch {torch.__version__}. Weights kept in {fields["saved_precision"]}.

## Data

{_data(prepared)}

| file or set | SHA-256 |
|---|---|
{files}
## The command that made it

```
{_command(recipe)}
```

`recipe.toml`, where it lies beside this card, has every setting; `config.toml` holds the model and the decoding.
"""


def _command(recipe: Recipe) -> str:
    """`sightline train` with what makes this recipe of the one that comes with sightline, or of its own file."""
    if recipe.name not in recipe_names():
        return "sightline train recipe.toml"
    shipped_file = RECIPES / f"{recipe.name}.toml"  # not a folder of that name that lies about
    own, shipped = recipe.model_dump(exclude_none=True), read_recipe(shipped_file).model_dump(exclude_none=True)
    changes = [f"{name}={value}" for name, value in _changes(own, shipped, "")]
    try:
        whole = read_recipe(shipped_file, changes) == recipe
    except UserError:
        whole = False
    return shlex.join(["sightline", "train", recipe.name, *changes] if whole else ["sightline", "train", "recipe.toml"])


def _changes(own: Mapping[str, Any], shipped: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """Names of the settings that differ, and their values as TOML."""
    for name, value in own.items():
        earlier = shipped.get(name)
        if value == earlier:
            continue
        if isinstance(value, Mapping) and isinstance(earlier, Mapping):
            yield from _changes(value, earlier, f"{above}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            entries = earlier if isinstance(earlier, list) and len(earlier) == len(value) else [{}] * len(value)
            for i, (entry, before) in enumerate(zip(value, entries, strict=True)):
                number = f"{i}." if len(value) > 1 else ""
                yield from _changes(entry, before, f"{above}{name}.{number}")
        else:
            yield f"{above}{name}", value if isinstance(value, str) else json.dumps(value)


def _data(prepared: Prepared) -> str:
    report = prepared.report
    corpora = ", ".join(f"{name} ({count:,} pairs)" for name, count in report.corpora.items())
    dropped = ", ".join(f"{found.count:,} {reason}" for reason, found in report.dropped.items()) or "none"
    sets = "".join(
        f" {name}: {found.examples:,} sources with {found.references:,} references ({found.origin})."
        for name, found in report.sets.items()
    )
    return (
        f"{corpora}. Trained on {report.kept:,} pairs; {report.held_out:,} held out by connected groups of sentences; "
        f"dropped: {dropped}.{sets} Vocabulary: {report.src_vocab_size:,} {report.tokenizer} tokens."
    )
