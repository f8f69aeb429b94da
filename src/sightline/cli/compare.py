"""`sightline compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.lab.report import Report


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of finished runs, two or more.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")] = Path("comparison"),
    to: Annotated[str | None, typer.Option(metavar="LANG", help="Target language, for models with several.")] = None,
) -> None:
    """Compare finished runs on the test set they share, on one page: scores, speed, length of sentences, chance.

    Runs of one recipe that differ in their seeds are one system. The page is DIR/compare.html; beside it the same as Markdown.
    """
    import shlex

    from rich.console import Console

    from sightline.cli.display import stages
    from sightline.lab.compare import compare as tell
    from sightline.lab.system import systems_of

    console = Console()
    words = ["sightline", "compare", *map(str, runs), "--out", str(out), *(["--to", to] if to else [])]
    systems = systems_of(runs)
    with stages(console) as progress:
        report = tell(systems, out, to, shlex.join(words), progress)
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
