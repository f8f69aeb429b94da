"""A report: sections in their order, each with what made it; sections that were made once are kept."""

import hashlib
import json
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from sightline import __version__
from sightline.files import write_atomically
from sightline.lab.parts import HeatMap, Line, LineChart, Said, Section, Table
from sightline.training.devices import best_device, processor, usable_cores


@dataclass(frozen=True)
class Made:
    """How a section came to be."""

    command: str
    date: str
    machine: str

    @classmethod
    def now(cls, command: str) -> "Made":
        """By this command, here."""
        devices = [f"{processor()}, {usable_cores()} cores"]
        if best_device().type == "cuda":
            devices.append(torch.cuda.get_device_name(0))
        machine = f"{', '.join(devices)}, {platform.system()}, torch {torch.__version__}"
        return cls(command, datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"), machine)


@dataclass(frozen=True)
class Shown:
    """A section of a report."""

    section: Section
    made: Made


@dataclass(frozen=True)
class Report:
    """What becomes a page."""

    name: str
    title: Said
    lead: Sequence[Said]
    sections: Sequence[Shown]


class Kept:
    """A folder of sections: each is made when it is first asked for, and again when what it is made of has changed."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder, self.command = folder, command

    def section(self, name: str, made_of: Sequence[object], make: Callable[[], Section]) -> Shown:
        """The section of this name. `made_of`, values that JSON can hold, tells one state of its material from another."""
        path = self.folder / f"{name}.json"
        told = json.dumps([__version__, *made_of], sort_keys=True, default=str)
        digest = hashlib.sha256(told.encode()).hexdigest()
        if (kept := _read(path, digest)) is not None:
            return kept
        shown = Shown(make(), Made.now(self.command))
        content = {"made_of": digest, "made": asdict(shown.made), "section": _tree(shown.section)}
        write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1))
        return shown


def _read(path: Path, digest: str) -> Shown | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["made_of"] != digest:
            return None
        return Shown(_section(content["section"]), Made(**content["made"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


_PARTS = {part.__name__: part for part in (LineChart, HeatMap, Table)}


def _tree(section: Section) -> dict[str, Any]:
    tree = asdict(section)
    tree["parts"] = [{"part": type(part).__name__, **asdict(part)} for part in section.parts]
    return tree


def _section(tree: dict[str, Any]) -> Section:
    return Section(
        Said(**tree["title"]), [Said(**each) for each in tree["text"]], [_part(each) for each in tree["parts"]]
    )


def _part(tree: dict[str, Any]) -> LineChart | HeatMap | Table:
    kind = _PARTS[tree["part"]]
    fields = {name: _said(value) for name, value in tree.items() if name != "part"}
    if kind is LineChart:
        fields["lines"] = [Line(**{name: _said(value) for name, value in line.items()}) for line in tree["lines"]]
    return kind(**fields)


def _said(value: Any) -> Any:
    """Texts in both languages, wherever they are in lists, from their dicts."""
    if isinstance(value, list):
        return [_said(each) for each in value]
    return Said(**value) if isinstance(value, dict) and value.keys() == {"en", "zh"} else value
