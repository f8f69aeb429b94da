"""Writes the tables of settings and recipes into pages while the documentation is built, so that they cannot go stale.

In a page, `<!-- settings: sightline.training.settings:TrainSettings train -->` becomes a table of that class, every key
with the prefix `train.`, and `<!-- recipes -->` a table of the recipes that come with sightline.
"""

import importlib
import inspect
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sightline.config import Settings, parse, read_toml

SETTINGS = re.compile(r"<!-- settings: ([\w.]+):(\w+) ?([\w.]*) -->")
RECIPES = "<!-- recipes -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    markdown = SETTINGS.sub(lambda found: settings_table(load(found[1], found[2]), found[3]), markdown)
    return markdown.replace(RECIPES, recipes_table()) if RECIPES in markdown else markdown


def load(module: str, name: str) -> type[Settings]:
    """The class that a marker names."""
    return getattr(importlib.import_module(module), name)


def settings_table(cls: type[Settings], prefix: str) -> str:
    """A row for each field: its key, what may be given, its default, its docstring."""
    rows = ["| setting | values | default | meaning |", "|---|---|---|---|"]
    for name, field in cls.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        default = "to be given" if field.is_required() else shown(field.get_default(call_default_factory=True))
        meaning = " ".join(inspect.cleandoc(field.description or "").split())
        rows.append(f"| `{key}` | {values(field.annotation)} | {default} | {escaped(meaning)} |")
    return "\n".join(rows)


def values(annotation: Any) -> str:
    """What a setting may be, in words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values(args[0])
    if origin is Literal:
        return " ".join(f"`{choice}`" for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(values(arg) for arg in args if arg is not type(None)))
    if origin is list:
        return f"list of {values(args[0])}"
    if origin is tuple:
        return "list of " + ", ".join(dict.fromkeys(values(arg) for arg in args if arg is not ...))
    if origin is dict or annotation is dict or (isinstance(annotation, type) and issubclass(annotation, Settings)):
        return "table"
    return {bool: "true, false", int: "whole number", float: "number", str: "text"}[annotation]


def shown(value: Any) -> str:
    """A default as it would stand in TOML."""
    if isinstance(value, Settings):
        return "see its table"
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(map(str, value))}]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def escaped(text: str) -> str:
    """Text in which Markdown finds nothing to do."""
    return re.sub(r"([*|<>_`])", r"\\\1", text)


def recipes_table() -> str:
    """Every recipe that comes with sightline: what it is for, the score it must reach, whether it did."""
    from sightline.training.recipe import RECIPES as folder
    from sightline.training.recipe import Recipe

    rows = ["| recipe | what | must reach | reproduced |", "|---|---|---|---|"]
    for path in sorted(folder.glob("*.toml")):
        recipe = parse(Recipe, read_toml(path))
        scores = [f"{e.metric} {e.score:g}{f' {e.direction}' if e.direction else ''}" for e in recipe.expected]
        done = [e.reproduced or "not yet reproduced" for e in recipe.expected]
        cells = (recipe.description, "; ".join(scores) or "-", "; ".join(dict.fromkeys(done)) or "-")
        rows.append(f"| `{recipe.name}` | " + " | ".join(map(escaped, cells)) + " |")
    return "\n".join(rows)
