"""The `sightline` command. Each command's file is imported only when it runs, so that help appears at once."""

import errno
import io
import sys
from pathlib import Path
from typing import Annotated

import typer

from sightline.cli import (
    align,
    compare,
    demo,
    doctor,
    evaluate,
    explore,
    export,
    import_,
    inspect,
    lab,
    prepare,
    score,
    shortlist,
    train,
    translate,
)
from sightline.errors import UserError, out_of_memory
from sightline.files import readable_os_error

_NO_FAULT_OF_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE}
"""What a full, broken or closed disk answers, wherever in the program it happens."""

app = typer.Typer(
    name="sightline",
    help="Train a Transformer on your own text, score it, and translate with it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train", short_help="Train from a recipe or from your own corpus.")(train.train)
app.command("prepare", short_help="Check, split and tokenise a corpus.")(prepare.prepare)
app.command("translate", short_help="Translate: one line in, one line out.")(translate.translate)
app.command("score", short_help="How probable a model finds translations.")(score.score)
app.command("align", short_help="Which word translates which.")(align.align)
app.command("evaluate", short_help="Score translations; compare two systems.")(evaluate.evaluate)
app.command("compare", short_help="Runs beside each other, on one page.")(compare.compare)
app.add_typer(lab.app, name="lab", short_help="Experiments that train what they compare.")
app.command("explore", short_help="See inside a model, in the browser.")(explore.explore)
app.command("inspect", short_help="Write what a model computes to a file.")(inspect.inspect)
app.command("export", short_help="Write a model for another engine.")(export.export)
app.command("import", short_help="Read a Marian (OPUS-MT) model.")(import_.import_model)
app.command("shortlist", short_help="Learn which tokens may translate which.")(shortlist.shortlist)
app.command("demo", short_help="Translate, train and score, in minutes.")(demo.demo)
app.command("doctor", short_help="Versions, processor, memory and disk.")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"sightline {version('sightline')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Errors of the user's making are one paragraph on stderr, with exit status 2."""
    _speak_utf8()
    try:
        app(arguments, prog_name="sightline")  # ends the process itself, also where a reader such as `head` has gone
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(
            f"error: There is not enough memory ({str(error)[:200]}). Close other programs, or ask for less at once: a "
            "smaller train.batch_tokens for training, a smaller --beam for translating.",
            file=sys.stderr,
        )
        sys.exit(2)
    except OSError as error:
        if error.errno not in _NO_FAULT_OF_OURS:
            raise
        print(f"error: {readable_os_error(error, Path.cwd(), 'go on with')}", file=sys.stderr)
        sys.exit(2)


def _speak_utf8() -> None:
    """Text goes in and out as UTF-8 whatever the system's locale says; input bytes are checked where they are read."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace" if stream is sys.stderr else "strict")
