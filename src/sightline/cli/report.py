"""The report on a corpus, as tables to read."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightline.data.report import Report


def print_report(report: Report, console: Console) -> None:
    """Print the report as tables, at most 100 columns wide; `report.json` has more examples."""
    width = min(100, console.width)
    for part in (_pairs(report), *_examples(report), _tokens(report), _sets(report), *_samples(report)):
        if part is not None:
            console.print(part, width=width, no_wrap=isinstance(part, Text), overflow="ellipsis")
    for warning in report.warnings:
        console.print(Text.assemble(("look at this: ", "bold yellow"), warning), soft_wrap=True)
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
    """The files of a corpus without their folders; of several corpora, how many."""
    if ", " in corpus:
        return f"{corpus.count(', ') + 1} corpora"
    return " + ".join(Path(name).name.removeprefix("bundled:") for name in corpus.split(" + "))
