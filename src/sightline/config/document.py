"""A TOML text read as a tree that remembers the line of each key, and NAME=VALUE overrides."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sightline.errors import ConfigError
from sightline.files import explain_os_errors

__all__ = ["Document", "apply_overrides", "read_toml", "replaced", "shorten", "shown"]


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
        """The line of a dotted ``key``, of the inline table or array that holds it, or else of its section.

        None when none of them is in the file.
        """
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
        raise ConfigError(f"{path} line {line}: the text is not UTF-8. Save it as UTF-8 and try again.") from error
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}: lists or tables are nested too deeply. Write a plainer file.") from error
    except ValueError as error:  # TOMLDecodeError, and a number of thousands of digits
        raise ConfigError(_syntax_message(path, text, str(error))) from error
    return Document(tree, path, _key_lines(text))


def apply_overrides(document: Document, overrides: Iterable[str]) -> Document:
    """A copy of ``document`` with settings replaced: ``["train.max_steps=2000", "data.train.0.weight=2"]``.

    The value is read as TOML, or else taken as text. An entry of a list is named by its index, counted from 0; the only
    entry of a list of one table may be meant without it, as in ``data.train.weight=2``.
    Unknown names are found by `parse`, as they are in a file.

    Raises:
        ConfigError: an override is not NAME=VALUE, leads into a value that is not a table, or names an entry that a
            list does not have.
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
        keys = _numbered(tree, keys)
        name = ".".join(keys)
        tree = replaced(tree, keys, _toml_value(value), name)
        overridden[name] = value
    return replace(document, tree=tree, overridden=overridden)


def _numbered(tree: Any, keys: list[str]) -> list[str]:
    """The keys, with the 0 put in where a list has one table and its number was left out."""
    if not keys:
        return []
    if isinstance(tree, list):
        if keys[0].isidentifier() and len(tree) == 1 and isinstance(tree[0], dict):
            return ["0", *_numbered(tree[0], keys)]
        below = tree[int(keys[0])] if keys[0].isdecimal() and int(keys[0]) < len(tree) else None
    else:
        below = tree.get(keys[0]) if isinstance(tree, dict) else None
    return [keys[0], *_numbered(below, keys[1:])]


def _with_parents(key: str) -> Iterator[str]:
    while key:
        yield key
        key = key.rpartition(".")[0]


def _syntax_message(path: Path, text: str, reason: str) -> str:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", reason, re.DOTALL)
    if found is None:
        return f"{path} cannot be read: {reason}."
    lines = text.splitlines() or [""]
    line = int(found[2]) if found[2] else len(lines)
    column = int(found[3]) if found[3] else len(lines[-1]) + 1
    written = lines[line - 1].strip() if line <= len(lines) else ""
    quoted = f" The line reads: {shorten(written)}" if written else ""
    return f"{path} line {line}, column {column}: not valid TOML: {found[1]}.{quoted}"


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


def _toml_value(text: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return tree["value"] if tree.keys() == {"value"} else text


def replaced(tree: Any, keys: list[str], value: Any, name: str) -> Any:
    """A copy of ``tree`` with the value under ``keys`` replaced; tables that are missing are made."""
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(tree, dict):
        return {**tree, first: replaced(tree.get(first, {}), rest, value, name)}
    above = name.split(".")[: -len(keys)]
    if isinstance(tree, list):
        if not (first.isascii() and first.isdigit()) or int(first) >= len(tree):
            there = f"0 to {len(tree) - 1}" if len(tree) > 1 else "0 only" if tree else "none, it is empty"
            raise ConfigError(
                f"given on the command line: {name}: '{'.'.join(above)}' is a list, and '{first}' is no entry. "
                f"The entries it has: {there}."
            )
        return [replaced(item, rest, value, name) if i == int(first) else item for i, item in enumerate(tree)]
    raise ConfigError(
        f"given on the command line: {name}: '{'.'.join(above)}' is a value ({shown(tree)}), not a table, "
        f"so it holds no '{first}'. Give '{'.'.join(above)}' itself."
    )


def shown(value: Any) -> str:
    """A value as one would write it in TOML, shortened."""
    if isinstance(value, bool) or value is None:
        return "nothing" if value is None else str(value).lower()
    if isinstance(value, str):
        return shorten(json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return shorten("{" + ", ".join(f"{key} = {shown(item)}" for key, item in value.items()) + "}")
    if isinstance(value, (list, tuple)):
        return shorten("[" + ", ".join(shown(item) for item in value) + "]")
    return shorten(str(value))


def shorten(text: str, limit: int = 80) -> str:
    """``text``, or its beginning and an ellipsis when it has more than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
