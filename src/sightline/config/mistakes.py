"""What pydantic found, in words: the key, the value, what is allowed, the nearest right spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sightline.config.document import shorten, shown
from sightline.errors import most_similar, nearest

__all__ = ["Mistake", "find_mistakes"]


def find_mistakes(error: ValidationError, tree: Any) -> list[Mistake]:
    """The mistakes in ``tree`` that ``error`` tells of; of a union only those of the branch that was meant."""
    return _one_branch_each([_mistake(details, tree) for details in error.errors(include_url=False)])


@dataclass(frozen=True)
class Mistake:
    """One thing pydantic found, with the names of union branches told apart from the keys."""

    steps: tuple[tuple[bool, str], ...]
    """(is it a union's branch, name), outermost first."""
    kind: str
    wanted: str
    """What would be right, to follow "is not"; empty when ``message`` says it all."""
    message: str
    value: Any
    allowed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The dotted name of the setting."""
        return ".".join(name for branch, name in self.steps if not branch)

    @property
    def wants_text(self) -> bool:
        """Whether text would have been right where something else was given."""
        return _WANTED["string"] in self.wanted and not isinstance(self.value, str)

    def sentence(self, cls: type[BaseModel]) -> str:
        """The mistake and its remedy, for settings that are of class ``cls`` at the top."""
        key = shorten(self.key)
        if self.kind == "extra_forbidden":
            return f"{key} is not a setting.{_suggestion(cls, self.key)}"
        if self.kind == "missing":
            return f"{key} is missing.{_help(cls, self.key)}"
        if self.kind in ("value_error", "assertion_error"):
            return f"{key}: {self.message}" if key else self.message
        given = f"{key} = {shown(self.value)}" if key else shown(self.value)
        if self.wanted:
            guess = nearest(self.value, self.allowed) if isinstance(self.value, str) else ""
            return f"{given} is not {self.wanted}.{guess}"
        return f"{given}: {self.message}"


_WANTED = {
    "int": "a whole number",
    "float": "a number (such as 0.5 or 3e-4)",
    "finite_number": "a number",
    "bool": "true or false",
    "string": 'text ("in quotes")',
    "list": "a list [in brackets]",
    "tuple": "a list [in brackets]",
    "set": "a list [in brackets]",
    "dict": "a table of settings",
    "model": "a table of settings",
    "dataclass": "a table of settings",
    "path": 'a path ("in quotes")',
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _mistake(details: ErrorDetails, tree: Any) -> Mistake:
    kind, context, value = details["type"], details.get("ctx", {}), details.get("input")
    message = details["msg"][:1].lower() + details["msg"][1:] + "."
    wanted, allowed = "", ()
    if kind == "literal_error":
        choices = context.get("expected", "")
        allowed = tuple(re.findall(r"'([^']*)'", choices))
        wanted = f"one of {', '.join(allowed)}" if len(allowed) > 1 else choices
    elif kind == "union_tag_invalid":
        allowed = tuple(re.findall(r"'([^']*)'", context["expected_tags"]))
        wanted, value = f"one of {', '.join(allowed)}", context["tag"]
    elif kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        wanted = f"{words} {context[name]}"
    elif kind in ("value_error", "assertion_error"):
        message = str(context.get("error") or message)
        message = message if message.endswith((".", "?", "!")) else message + "."
    elif kind.endswith(("_type", "_parsing", "_from_float", "_attributes_type")) or kind == "finite_number":
        stem = kind if kind in _WANTED else kind.split("_")[0]
        wanted = _WANTED.get(stem, "")
    return Mistake(_steps(details["loc"], tree, kind), kind, wanted, message, value, allowed)


def _steps(loc: tuple[int | str, ...], tree: Any, kind: str) -> tuple[tuple[bool, str], ...]:
    """Tell keys from the union branches that pydantic puts between them, by walking the tree that was checked."""
    steps: list[tuple[bool, str]] = []
    for i, name in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(tree, Mapping) and name in tree:
            steps.append((False, str(name)))
            tree = tree[name]
        elif isinstance(tree, (list, tuple)) and isinstance(name, int):
            steps.append((False, str(name)))
            tree = tree[name] if name < len(tree) else None
        elif last and kind == "missing":
            steps.append((False, str(name)))
        elif name != "[key]":
            steps.append((True, str(name)))
    if kind == "union_tag_invalid":
        steps.append((False, "kind"))
    return tuple(steps)


def _one_branch_each(mistakes: list[Mistake]) -> list[Mistake]:
    """Of a union's branches keep the one that was meant: it fits from outside and has the fewest mistakes inside.

    When the value fits none from outside, the branches are told in one mistake.
    """
    chosen: list[Mistake] = []
    unions: dict[tuple[tuple[bool, str], ...], dict[str, list[Mistake]]] = {}
    for mistake in mistakes:
        first = next((i for i, (branch, _) in enumerate(mistake.steps) if branch), None)
        if first is None:
            chosen.append(mistake)
            continue
        point, rest = mistake.steps[:first], mistake.steps[first + 1 :]
        branches = unions.setdefault(point, {})
        branches.setdefault(mistake.steps[first][1], []).append(replace(mistake, steps=point + rest))
    for point, branches in unions.items():
        tried = [_one_branch_each(branch) for branch in branches.values()]
        inside = [branch for branch in tried if all(mistake.steps != point for mistake in branch)]
        chosen += min(inside, key=len) if inside else [_merged([mistake for branch in tried for mistake in branch])]
    return chosen


def _merged(mistakes: list[Mistake]) -> Mistake:
    wanted = dict.fromkeys(mistake.wanted for mistake in mistakes if mistake.wanted)
    allowed = tuple(dict.fromkeys(word for mistake in mistakes for word in mistake.allowed))
    best = next((mistake for mistake in mistakes if not mistake.wanted), mistakes[0])
    return replace(best, wanted=", or ".join(wanted), allowed=allowed) if wanted and best.wanted else best


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that a field of this type may hold, directly or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for member in get_args(annotation) for table in _tables(member)]


def _tables_at(cls: type[BaseModel], key: str) -> list[type[BaseModel]]:
    tables = [cls]
    for name in key.split(".") if key else []:
        if not name.isdigit():
            found = [table.model_fields[name].annotation for table in tables if name in table.model_fields]
            tables = [table for annotation in found for table in _tables(annotation)]
    return tables


def _all_keys(cls: type[BaseModel], above: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    for name, info in cls.model_fields.items():
        yield name
        for table in _tables(info.annotation):
            if table not in above:
                yield from (f"{name}.{key}" for key in _all_keys(table, (*above, cls)))


def _suggestion(cls: type[BaseModel], key: str) -> str:
    """The nearest name in the same section, or else in another; or else the names that the section has."""
    parent, _, last = key.rpartition(".")
    beside = [name for table in _tables_at(cls, parent) for name in table.model_fields]
    if last in beside:
        return (
            f" It is one of another kind of {parent}: leave it out, or, where it stands in a recipe, give the whole table on the "
            f"command line, as in '{parent}={{kind=\"...\", ...}}'."
        )
    elsewhere = {name.rpartition(".")[2]: name for name in _all_keys(cls)}
    for names in ({name: f"{parent}.{name}" if parent else name for name in beside}, elsewhere):
        found = most_similar(last, names)
        if found:
            return f" Did you mean '{names[found]}'?"
    place = f"In {parent} there are" if parent else "There are"
    return f" {place}: {', '.join(dict.fromkeys(beside))}." if beside else ""


def _help(cls: type[BaseModel], key: str) -> str:
    parent, _, last = key.rpartition(".")
    fields = [table.model_fields[last] for table in _tables_at(cls, parent) if last in table.model_fields]
    text = next((info.description for info in fields if info.description), None)
    return " What it is: " + " ".join(text.split()).rstrip(".") + "." if text else ""
