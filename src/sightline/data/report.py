"""What was found in a corpus, as data and as tables to read."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_SHOWN = 70


@dataclass(frozen=True)
class Dropped:
    """Pairs left out of training for one reason, and where the first of them stand."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lengths:
    """Tokens a sentence, end token included."""

    mean: float
    p95: int
    longest: int

    @classmethod
    def of(cls, histogram: np.ndarray) -> "Lengths":
        """From how many sentences there are of each length: [longest + 1]."""
        total = int(histogram.sum())
        if not total:
            return cls(0.0, 0, 0)
        p95 = int(np.searchsorted(np.cumsum(histogram), 0.95 * total))
        mean = float(histogram @ np.arange(len(histogram)) / total)
        return cls(round(mean, 2), p95, int(np.flatnonzero(histogram)[-1]))


@dataclass(frozen=True)
class SetAside:
    """The validation or test set."""

    origin: str
    """The file it was read from, or "held out"."""
    examples: int
    """Unique sources (for each target language)."""
    references: int
    inside_training: int = 0
    """Training pairs dropped because a sentence of theirs is in this set."""
    unknown: int = 0
    """Tokens that the vocabulary does not have."""
    unknown_examples: tuple[str, ...] = ()
    too_long: int = 0
    """Sources with more than max_len tokens."""


@dataclass(frozen=True)
class Sample:
    """A training pair as the model sees it; | stands between tokens."""

    src: str
    tgt: str


@dataclass(frozen=True)
class Report:
    """What was found in a corpus and done with it."""

    corpora: dict[str, int]
    """Pairs read of each corpus."""
    read: int
    kept: int
    """Pairs that are trained on (each in both directions, if that is set)."""
    held_out: int
    dropped: dict[str, Dropped]
    copies: int
    src_lengths: Lengths
    tgt_lengths: Lengths
    ratio: float
    """Target tokens for each source token."""
    correlation: float
    """Of the two lengths of a pair: near 0 when the lines of two files do not belong together."""
    tokenizer: str
    src_vocab_size: int
    tgt_vocab_size: int
    joint: bool
    sets: dict[str, SetAside]
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as a JSON document."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError if it is not such a document."""
        found: dict[str, Any] = json.loads(text)
        found["dropped"] = {k: Dropped(v["count"], tuple(v["examples"])) for k, v in found["dropped"].items()}
        found["sets"] = {
            k: SetAside(**{**v, "unknown_examples": tuple(v["unknown_examples"])}) for k, v in found["sets"].items()
        }
        found["src_lengths"], found["tgt_lengths"] = (Lengths(**found[k]) for k in ("src_lengths", "tgt_lengths"))
        found["samples"] = tuple(Sample(**sample) for sample in found["samples"])
        return cls(**{**found, "warnings": tuple(found["warnings"])})

    def summary(self) -> str:
        """The report in a few lines of Markdown, for the card of a model."""
        lines = [f"- {name}: {count:,} pairs read" for name, count in self.corpora.items()]
        lines += [f"- {self.kept:,} pairs trained on"]
        lines += [f"- {dropped.count:,} dropped: {reason}" for reason, dropped in self.dropped.items()]
        lines += [
            f"- {name}: {part.examples:,} sources with {part.references:,} references ({part.origin})"
            for name, part in self.sets.items()
        ]
        return "\n".join(lines)


def print_report(report: Report, console: Console) -> None:
    """Print the report as tables, at most 100 columns wide."""
    width = min(100, console.width)
    console.print(_pairs(report, width))
    console.print(_tokens(report, width))
    if report.sets:
        console.print(_sets(report, width))
    if report.samples:
        console.print(_samples(report, width))
    for warning in report.warnings:
        console.print(Panel(Text(warning), title="look at this", border_style="yellow", width=width))


def _table(title: str, width: int, *columns: tuple[str, str]) -> Table:
    table = Table(title=title, title_justify="left", width=width, border_style="dim", header_style="bold")
    for name, justify in columns:
        table.add_column(name, justify=justify, overflow="fold")  # pyright: ignore[reportArgumentType]
    return table


def _pairs(report: Report, width: int) -> Table:
    table = _table("Pairs", width, ("", "left"), ("pairs", "right"), ("share", "right"), ("for example", "left"))

    def add(name: str, count: int, examples: tuple[str, ...] = (), style: str = "") -> None:
        shown = "\n".join(_short(example, 44) for example in examples)
        table.add_row(name, f"{count:,}", f"{100 * count / max(1, report.read):.1f} %", Text(shown), style=style)

    for name, count in report.corpora.items():
        add(f"read from {name}", count)
    for reason, dropped in report.dropped.items():
        add(f"dropped: {reason}", dropped.count, dropped.examples, "yellow")
    if report.held_out:
        add("set aside", report.held_out)
    add("trained on", report.kept, style="bold green")
    return table


def _tokens(report: Report, width: int) -> Table:
    kind = f"{report.tokenizer}, {'one vocabulary' if report.joint else 'two vocabularies'}"
    names = (("", "left"), ("vocabulary", "right"), ("mean", "right"), ("95 % below", "right"), ("longest", "right"))
    table = _table(f"Tokens ({kind})", width, *names)
    for name, size, lengths in (
        ("source", report.src_vocab_size, report.src_lengths),
        ("target", report.tgt_vocab_size, report.tgt_lengths),
    ):
        table.add_row(name, f"{size:,}", f"{lengths.mean:.1f}", f"{lengths.p95}", f"{lengths.longest}")
    table.caption = (
        f"{report.ratio:.2f} target tokens for each source token; correlation of the lengths {report.correlation:.2f}"
    )
    return table


def _sets(report: Report, width: int) -> Table:
    names = ("", "from", "sources", "references", "found in training", "unknown tokens")
    table = _table("Set aside", width, *((name, "left" if i < 2 else "right") for i, name in enumerate(names)))
    for name, part in report.sets.items():
        unknown = f"{part.unknown:,}" + (f" ({' '.join(part.unknown_examples)})" if part.unknown_examples else "")
        row = [name, part.origin, f"{part.examples:,}", f"{part.references:,}", f"{part.inside_training:,}", unknown]
        table.add_row(*map(Text, row))
    return table


def _samples(report: Report, width: int) -> Table:
    table = _table("As the model sees it", width, ("source", "left"), ("target", "left"))
    for sample in report.samples:
        table.add_row(Text(_short(sample.src, 240)), Text(_short(sample.tgt, 240)))
    return table


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
