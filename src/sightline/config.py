"""Typed settings and TOML: every key is checked, and every mistake is shown with its file and line."""

from __future__ import annotations

import json
import math
import re
import tomllib
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticKnownError

from sightline.errors import ConfigError, nearest
from sightline.files import explain_os_errors

__all__ = ["Document", "Settings", "apply_overrides", "dump_toml", "parse", "read_toml"]


class Settings(BaseModel):
    """A group of settings: frozen, no unknown key; the docstring under a field is its help text.

    An optional field (``int | None``) must default to None, since TOML has no null and None is left out when written.
    Beyond pydantic's own rules a number is not given as text, nor true or false as a number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, info in cls.model_fields.items():
            if type(None) in _kinds(info.annotation) and (info.is_required() or info.get_default() is not None):
                raise TypeError(f"{cls.__name__}.{name} may be None, so None must be its default: TOML has no null.")

    @field_validator("*", mode="before")
    @classmethod
    def _no_silent_conversion(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation) - {type(None)}
        if kinds and kinds <= {int, float}:
            if isinstance(value, (bool, str)) or (isinstance(value, float) and math.isnan(value)):
                raise PydanticKnownError("int_type" if float not in kinds else "float_type")
        elif kinds == {bool} and not isinstance(value, bool):
            raise PydanticKnownError("bool_type")
        return value


@dataclass(frozen=True)
class Document:
    """A TOML text as a tree of dicts, which remembers where each key was written."""

    tree: dict[str, Any]
    path: Path | None = None
    """The file it was read from."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Line of each key and table, counted from 1."""
    overridden: Mapping[str, str] = field(default_factory=dict)
    """Keys given as NAME=VALUE, with the text of their value."""

    def line(self, key: str) -> int | None:
        """The line of a dotted ``key``, of the inline table or array that holds it, or else of its section; None if not in the file."""
        return next((self.lines[name] for name in _with_parents(key) if name in self.lines), None)

    def where(self, key: str) -> str:
        """Where ``key`` was given, to begin a message with: ``recipe.toml line 3: ``; empty for a plain dict."""
        if any(name in self.overridden for name in _with_parents(key)):
            return "given on the command line: "
        if self.path is None:
            return ""
        line = self.line(key)
        return f"{self.path}: " if line is None else f"{self.path} line {line}: "


def read_toml(path: str | Path) -> Document:
    """Read a TOML file.

    Raises:
        ConfigError: the text is not TOML (file, line, column and reason are named) or not UTF-8.
        UserError: the file cannot be read.
    """
    path = Path(path)
    with explain_os_errors(path, doing="read"):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} line {line}: the text is not UTF-8. Save the file as UTF-8 and try again.") from error
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_message(path, text, str(error))) from error
    return Document(tree, path, _key_lines(text))


def apply_overrides(document: Document, overrides: Iterable[str]) -> Document:
    """A copy of ``document`` with settings replaced: ``["train.max_steps=2000", "data.train.0.weight=2"]``.

    The value is read as TOML, or else taken as text. An entry of a list is named by its index, counted from 0. Unknown names are
    found by `parse`, as they are in a file.

    Raises:
        ConfigError: an override is not NAME=VALUE, leads into a value that is not a table, or names an entry a list does not have.
    """
    tree, overridden = document.tree, dict(document.overridden)
    for text in overrides:
        name, equals, value = (part.strip() for part in text.partition("="))
        keys = name.split(".")
        if not equals or not all(keys):
            raise ConfigError(
                f"given on the command line: '{text}' is not of the form NAME=VALUE. "
                "Write the setting's name, an equals sign and the value, as in train.max_steps=2000."
            )
        tree = _replaced(tree, keys, _toml_value(value), name)
        overridden[name] = value
    return replace(document, tree=tree, overridden=overridden)


S = TypeVar("S", bound=BaseModel)


def parse(cls: type[S], document: Document | Mapping[str, Any]) -> S:
    """Check a document (or a plain dict) against the settings ``cls`` and return them.

    Raises:
        ConfigError: one paragraph with every mistake: where it was given, the key, the value, what is allowed, and the nearest right spelling.
    """
    if not isinstance(document, Document):
        document = Document(dict(document))
    try:
        return cls.model_validate(document.tree)
    except ValidationError as error:
        problems = [_problem(details, document.tree) for details in error.errors(include_url=False)]
        as_text = [p for p in problems if "text" in p.wanted and p.key in document.overridden and not isinstance(p.value, str)]
        if as_text:  # NAME=2016 where text is wanted: what was typed is the text
            tree = document.tree
            for problem in as_text:
                tree = _replaced(tree, problem.key.split("."), document.overridden[problem.key], problem.key)
            return parse(cls, replace(document, tree=tree))
        messages = [document.where(p.key) + p.sentence(cls) for p in _one_branch_each(problems)]
    if len(messages) == 1:
        raise ConfigError(messages[0])
    raise ConfigError(f"{len(messages)} settings are wrong. " + " ".join(f"({i}) {m}" for i, m in enumerate(messages, 1)))


def dump_toml(settings: BaseModel | Mapping[str, Any]) -> str:
    """Settings as TOML text in the order of their fields, None left out; `parse` of what it says gives equal settings."""
    tree = settings.model_dump() if isinstance(settings, BaseModel) else settings
    return tomli_w.dumps(_plain(tree))


# --- reading ---------------------------------------------------------------------------------------------------------


def _with_parents(key: str) -> Iterator[str]:
    while key:
        yield key
        key = key.rpartition(".")[0]


def _syntax_message(path: Path, text: str, reason: str) -> str:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", reason, re.DOTALL)
    if found is None:
        return f"{path} is not valid TOML: {reason}."
    lines = text.splitlines() or [""]
    line = int(found[2]) if found[2] else len(lines)
    column = int(found[3]) if found[3] else len(lines[-1]) + 1
    written = lines[line - 1].strip() if line <= len(lines) else ""
    shown = f" The line reads: {_shorten(written)}" if written else ""
    return f"{path} line {line}, column {column}: not valid TOML: {found[1]}.{shown}"


_STRING = r'"""(?:\\.|[^\\])*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'"
_NAME = rf"(?:{_STRING}|[A-Za-z0-9_-]+)"
_KEYS = re.compile(rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*", re.DOTALL)
_STRINGS_AND_MARKS = re.compile(rf"(?:{_STRING})|#[^\n]*|[\[{{\]}}\n]", re.DOTALL)


def _key_lines(text: str) -> dict[str, int]:
    """The line of every key and section of a text that tomllib has accepted."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}  # how many [[name]] there were
    section = ""
    at = 0
    while at < len(text):
        char = text[at]
        if char == "#":
            at = _after_line(text, at)
        elif char == "[":
            listed = text.startswith("[[", at)
            names = _KEYS.search(text, at)
            assert names is not None
            line = text.count("\n", 0, at) + 1
            section = _full_name(_split(names[0]), "", counts, listed)
            lines.setdefault(section, line)
            at = _after_line(text, names.end())
        elif names := _KEYS.match(text, at):
            key = _full_name(_split(names[0]), section, counts, listed=False)
            lines[key] = text.count("\n", 0, at) + 1
            at = _after_value(text, names.end())
        else:
            at += 1
    return lines


def _full_name(names: list[str], section: str, counts: dict[str, int], listed: bool) -> str:
    """The dotted name with the indices of the ``[[lists]]`` it lies in."""
    key = section
    for i, name in enumerate(names):
        key = f"{key}.{name}" if key else name
        if listed and i == len(names) - 1:
            counts[key] = counts.get(key, 0) + 1
        if key in counts:
            key = f"{key}.{counts[key] - 1}"
    return key


def _split(names: str) -> list[str]:
    tree = tomllib.loads(f"{names} = 1")
    found = []
    while isinstance(tree, dict):
        name, tree = next(iter(tree.items()))
        found.append(name)
    return found


def _after_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _after_value(text: str, at: int) -> int:
    depth = 0
    for mark in _STRINGS_AND_MARKS.finditer(text, at):
        if mark[0] == "\n" and depth == 0:
            return mark.end()
        depth += (mark[0] in ("[", "{")) - (mark[0] in ("]", "}"))
    return len(text)


# --- overriding ------------------------------------------------------------------------------------------------------


def _toml_value(text: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return tree["value"] if tree.keys() == {"value"} else text


def _replaced(tree: Any, keys: list[str], value: Any, name: str) -> Any:
    """A copy of ``tree`` with the value under ``keys`` replaced; tables that are missing are made."""
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(tree, dict):
        return {**tree, first: _replaced(tree.get(first, {}), rest, value, name)}
    above = name.split(".")[: -len(keys)]
    if isinstance(tree, list):
        if not (first.isascii() and first.isdigit()) or int(first) >= len(tree):
            there = f"0 to {len(tree) - 1}" if len(tree) > 1 else "0 only" if tree else "none, it is empty"
            raise ConfigError(
                f"given on the command line: {name}: '{'.'.join(above)}' is a list, and '{first}' names no entry of it. "
                f"The entries it has: {there}."
            )
        return [_replaced(item, rest, value, name) if i == int(first) else item for i, item in enumerate(tree)]
    raise ConfigError(
        f"given on the command line: {name}: '{'.'.join(above)}' is a value ({_shown(tree)}), not a table, "
        f"so it holds no '{first}'. Give '{'.'.join(above)}' itself."
    )


# --- explaining ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
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
        return ".".join(name for branch, name in self.steps if not branch)

    def sentence(self, cls: type[BaseModel]) -> str:
        key = self.key
        parent, _, last = key.rpartition(".")
        if self.kind == "extra_forbidden":
            return f"{key} is not a setting.{_suggestion(cls, parent, last)}"
        if self.kind == "missing":
            return f"{key} is missing.{_help(cls, key)}"
        if self.kind in ("value_error", "assertion_error"):
            return f"{key}: {self.message}" if key else self.message
        given = f"{key} = {_shown(self.value)}" if key else _shown(self.value)
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


def _problem(details: ErrorDetails, tree: Any) -> _Problem:
    kind, context, value = details["type"], details.get("ctx", {}), details.get("input")
    message = details["msg"][:1].lower() + details["msg"][1:] + "."
    wanted, allowed = "", ()
    if kind == "literal_error":
        choices = context.get("expected", "")
        allowed = tuple(re.findall(r"'([^']*)'", choices))
        wanted = f"one of {', '.join(allowed)}" if len(allowed) > 1 else choices
    elif kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        wanted = f"{words} {context[name]}"
    elif kind in ("value_error", "assertion_error"):
        message = str(context.get("error") or message)
        message = message if message.endswith((".", "?", "!")) else message + "."
    elif kind.endswith(("_type", "_parsing", "_from_float", "_attributes_type")) or kind == "finite_number":
        stem = kind if kind in _WANTED else kind.split("_")[0]
        wanted = _WANTED.get(stem, "")
    return _Problem(_steps(details["loc"], tree, kind), kind, wanted, message, value, allowed)


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
    return tuple(steps)


def _one_branch_each(problems: list[_Problem]) -> list[_Problem]:
    """Of a union's branches keep the one that was meant: the one that fits from outside and has the fewest mistakes inside.

    When the value fits none from outside, the branches are told in one problem.
    """
    chosen: list[_Problem] = []
    unions: dict[tuple[tuple[bool, str], ...], dict[str, list[_Problem]]] = {}
    for problem in problems:
        first = next((i for i, (branch, _) in enumerate(problem.steps) if branch), None)
        if first is None:
            chosen.append(problem)
            continue
        point, rest = problem.steps[:first], problem.steps[first + 1 :]
        branches = unions.setdefault(point, {})
        branches.setdefault(problem.steps[first][1], []).append(replace(problem, steps=point + rest))
    for point, branches in unions.items():
        tried = [_one_branch_each(branch) for branch in branches.values()]
        inside = [branch for branch in tried if all(problem.steps != point for problem in branch)]
        chosen += min(inside, key=len) if inside else [_merged([problem for branch in tried for problem in branch])]
    return chosen


def _merged(problems: list[_Problem]) -> _Problem:
    wanted = dict.fromkeys(problem.wanted for problem in problems if problem.wanted)
    allowed = tuple(dict.fromkeys(word for problem in problems for word in problem.allowed))
    best = next((problem for problem in problems if not problem.wanted), problems[0])
    return replace(best, wanted=", or ".join(wanted), allowed=allowed) if wanted and best.wanted else best


def _kinds(annotation: Any) -> set[Any]:
    """The members of a union, or the one type an annotation is, without Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return {kind for member in get_args(annotation) for kind in _kinds(member)}
    return {Literal} if origin is Literal else {annotation}


def _tables(annotation: Any) -> list[type[BaseModel]]:
    """The settings classes that a field of this type may hold, directly or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for member in get_args(annotation) for table in _tables(member)]


def _tables_at(cls: type[BaseModel], key: str) -> list[type[BaseModel]]:
    tables = [cls]
    for name in key.split(".") if key else []:
        if not name.isdigit():
            tables = [t for table in tables if name in table.model_fields for t in _tables(table.model_fields[name].annotation)]
    return tables


def _all_keys(cls: type[BaseModel], above: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    for name, info in cls.model_fields.items():
        yield name
        for table in _tables(info.annotation):
            if table not in above:
                yield from (f"{name}.{key}" for key in _all_keys(table, (*above, cls)))


def _suggestion(cls: type[BaseModel], parent: str, last: str) -> str:
    beside = [name for table in _tables_at(cls, parent) for name in table.model_fields]
    dotted = f"{parent}.{last}" if parent else last
    found = nearest(last, beside)
    if found and parent:
        found = found.replace("'", f"'{parent}.", 1)
    elsewhere = next((key for key in _all_keys(cls) if key.rpartition(".")[2] == last), None)
    if not found and elsewhere:
        found = f" Did you mean '{elsewhere}'?"
    found = found or nearest(dotted, _all_keys(cls))
    if found or not beside:
        return found
    place = f"In {parent} there are" if parent else "There are"
    return f" {place}: {', '.join(dict.fromkeys(beside))}."


def _help(cls: type[BaseModel], key: str) -> str:
    parent, _, last = key.rpartition(".")
    fields = [table.model_fields[last] for table in _tables_at(cls, parent) if last in table.model_fields]
    text = next((info.description for info in fields if info.description), None)
    return " What it is: " + " ".join(text.split()).rstrip(".") + "." if text else ""


def _shown(value: Any) -> str:
    """A value as one would write it in TOML, shortened."""
    if isinstance(value, bool) or value is None:
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, str):
        return _shorten(json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return _shorten("{" + ", ".join(f"{key} = {_shown(item)}" for key, item in value.items()) + "}")
    if isinstance(value, (list, tuple)):
        return _shorten("[" + ", ".join(_shown(item) for item in value) + "]")
    return _shorten(str(value))


def _shorten(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- writing ---------------------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """A tree of what TOML knows: mappings without None, lists, paths as text."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None:
        raise ValueError("A list holds None, and TOML has no null.")
    return str(value) if isinstance(value, Path) else value
