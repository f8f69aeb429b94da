"""`sightline prepare`."""

from pathlib import Path
from typing import Annotated

import typer


def prepare(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE", help="A recipe that comes with sightline, a .toml file, or the folder of a run."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Settings to replace, as in data.path=DIR.")
    ] = None,
    src: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own corpus: source sentences, one a line.")
    ] = None,
    tgt: Annotated[Path | None, typer.Option(metavar="FILE", help="Their translations, line by line.")] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Your own corpus in one file: TSV, CSV or JSONL.")
    ] = None,
    src_lang: Annotated[str, typer.Option(metavar="LANG", help="Language of the source: en, zh ...")] = "",
    tgt_lang: Annotated[str, typer.Option(metavar="LANG", help="Language of the target.")] = "",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run; runs/NAME without it.")] = None,
) -> None:
    """Read, check, split and tokenise a corpus, and report on it. `train` does this by itself when needed."""
    from rich.console import Console

    from sightline.cli.corpus import chosen_recipe
    from sightline.cli.display import prepared_with_progress, say
    from sightline.data.report import print_report
    from sightline.training.start import check_folder

    console = Console()
    chosen, folder, reasons = chosen_recipe(recipe, settings or [], src, tgt, data, src_lang, tgt_lang, out)
    for reason in reasons:
        say(console, f"  {reason}")
    check_folder(folder, chosen)
    prepared = prepared_with_progress(chosen, folder, console)
    print_report(prepared.report, console)
    say(console, f"Prepared in {folder / 'data'}. Next: the same command with train in the place of prepare.")
