"""`sightline compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.lab.report import Report

GoldOption = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        metavar="FILE",
        help="Alignments made by people, as in 0-0 1-2 2p3; their pairs, source ||| target, are in the file of "
        "the same name that ends in .src-tgt. Error rates of the attention are then part of the page.",
    ),
]
FirstOption = Annotated[
    int, typer.Option("--first", metavar="N", min=0, max=1, help="What the gold file calls the first word: 0 or 1.")
]


def gold_words(gold: Path | None, first: int) -> list[str]:
    """The options as they were given."""
    return [] if gold is None else ["--gold", str(gold), *(["--first", str(first)] if first else [])]


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs, two or more.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")] = Path("comparison"),
    to: Annotated[
        str | None,
        typer.Option(
            metavar="LANG", help="Target language, or direction as in de-en, for models with several of them."
        ),
    ] = None,
    gold: GoldOption = None,
    first: FirstOption = 0,
) -> None:
    """Compare finished runs on the test set they share, on one page: scores, speed, length of sentences, chance.

    Runs of one recipe that differ in their seeds are one system. The page is DIR/compare.html; beside it the same as Markdown.
    """
    import shlex

    from rich.console import Console

    from sightline.cli.display import stages
    from sightline.lab.compare import compare as tell
    from sightline.lab.probes.alignment import read_gold_pairs
    from sightline.lab.system import systems_of

    console = Console()
    words = ["sightline", "compare", *map(str, runs), "--out", str(out), *(["--to", to] if to else [])]
    words += gold_words(gold, first)
    pairs, systems = None if gold is None else read_gold_pairs(gold, first), systems_of(runs)
    with stages(console) as progress:
        report = tell(systems, out, to, shlex.join(words), pairs, progress)
    write_report(report, out, console)


def write_report(report: "Report", folder: Path, console: "Console") -> None:
    """Write the page and the Markdown into a folder, and say the verdict and where they are."""
    from sightline.cli.display import say
    from sightline.lab.markdown import write_markdown
    from sightline.lab.page import write_page

    page = folder / f"{report.name}.html"
    write_page(report, page)
    write_markdown(report, folder)
    for text in report.lead:
        say(console, text.en)
    say(console, f"\nWritten: {page} (open it in a browser), {report.name}.md and {report.name}.zh.md beside it.")
