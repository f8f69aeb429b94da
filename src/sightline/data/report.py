"""What was found in a corpus, as data and as tables to read."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text


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
    """Pairs with both sides the same, dropped or not."""
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
    duplicates: int = 0
    """Pairs that are the same as an earlier one."""
    duplicates_dropped: bool = True
    unknown: int = 0
    """Tokens of the training text that the vocabulary does not have."""

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


def print_report(report: Report, console: Console) -> None:
    """Print the report as tables, at most 100 columns wide; `report.json` has more examples."""
    width = min(100, console.width)
    for part in (_pairs(report), *_examples(report), _tokens(report), _sets(report), *_samples(report)):
        if part is not None:
            console.print(part, width=width, no_wrap=isinstance(part, Text), overflow="ellipsis")
    for warning in report.warnings:
        console.print(Text.assemble(("look at this: ", "bold yellow"), warning), width=width)
    console.print()


def _table(title: str, *columns: str, left: tuple[str, ...] = ()) -> Table:
    """A table whose title heads its first column; figures are on the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column(title, overflow="fold")
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold", header_style="dim")
    return table


def _pairs(report: Report) -> Table:
    table = _table("Pairs", "", "")

    def add(name: str, count: int, style: str = "") -> None:
        table.add_row(Text(f"  {name}"), f"{count:,}", f"{100 * count / max(1, report.read):.1f} %", style=style)

    for name, count in report.corpora.items():
        add(f"read from {_file_names(name)}", count)
    for reason, dropped in report.dropped.items():
        add(f"dropped: {reason}", dropped.count, "yellow")
    if report.duplicates and not report.duplicates_dropped:
        add("kept, though the same pair again", report.duplicates)
    if report.held_out:
        add("set aside", report.held_out)
    add("trained on", report.kept, "bold green")
    return table


def _examples(report: Report) -> list[Text]:
    found = [Text(f"  {reason}: {part.examples[0]}", "dim") for reason, part in report.dropped.items() if part.examples]
    return [Text("Dropped, for example", "bold"), *found] if found else []


def _tokens(report: Report) -> Table:
    kind = f"{report.tokenizer}, {'one vocabulary' if report.joint else 'two vocabularies'}"
    table = _table(f"Tokens ({kind})", "vocabulary", "mean", "95 % up to", "longest")
    for name, size, lengths in (
        ("source", report.src_vocab_size, report.src_lengths),
        ("target", report.tgt_vocab_size, report.tgt_lengths),
    ):
        table.add_row(f"  {name}", f"{size:,}", f"{lengths.mean:.1f}", f"{lengths.p95}", f"{lengths.longest}")
    table.add_row("  target / source", "", f"{report.ratio:.2f}")
    table.add_row("  correlation of lengths", "", f"{report.correlation:.2f}")
    if report.unknown:
        table.add_row("  unknown tokens in training", "", f"{report.unknown:,}")
    return table


def _sets(report: Report) -> Table | None:
    if not report.sets:
        return None
    table = _table("Set aside", "sources", "references", "in training", "unknown", "from", left=("from",))
    for name, part in report.sets.items():
        unknown = f"{part.unknown:,}" + (f" ({' '.join(part.unknown_examples)})" if part.unknown_examples else "")
        row = [f"  {name}", f"{part.examples:,}", f"{part.references:,}", f"{part.inside_training:,}", unknown]
        table.add_row(*map(Text, row), Text(_file_names(part.origin)))
    return table


def _samples(report: Report) -> list[Text]:
    if not report.samples:
        return []
    lines = [Text("As the model sees it, | between tokens", "bold")]
    for sample in report.samples:
        lines += [Text(f"  {sample.src}"), Text(f"    -> {sample.tgt}")]
    return lines


def _file_names(corpus: str) -> str:
    """The files of a corpus without their folders."""
    return " + ".join(Path(name).name for name in corpus.split(" + "))
