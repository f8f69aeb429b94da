"""`sightline inspect`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.errors import ConfigError, UserError

if TYPE_CHECKING:
    from sightline.inspection.capture import Capture

FORMS = {".html": "html", ".ttrace": "ttrace", ".pharaoh": "pharaoh", ".xlsx": "xlsx"}
LARGE = 20_000_000
"""Bytes of a page from which its size is warned of."""


def inspect(
    sentence: Annotated[str, typer.Argument(metavar="SENTENCE", help="What to translate.")],
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of a trained model; without it the built-in one.")
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="LANG", help="Target language, for models with several.")] = None,
    tgt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Look at this translation, instead of searching for one.")
    ] = None,
    beam: Annotated[
        int, typer.Option(metavar="N", min=1, max=10, help="Width of the beam; 1 is the greedy search.")
    ] = 4,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="page.html: the explorer with this sentence, in one file; run.ttrace: every tensor; links.pharaoh: word "
            "links; sheet.xlsx: a head with live formulas. Without it, what the heads do is printed.",
        ),
    ] = None,
    stack: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For sheet.xlsx: encoder.self_attn, decoder.self_attn or decoder.cross_attn; without it the first that the "
            "model has.",
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="For sheet.xlsx and links.pharaoh, from 1, as on the page.")
    ] = None,
    head: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="For sheet.xlsx and links.pharaoh, from 1, as on the page.")
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="view|run|model",
            help="What page.html holds: the attention maps alone; all numbers of the sentence, and the weights of attention for "
            "By hand; or the weights of the whole model too, of at most 2 million parameters.",
        ),
    ] = "run",
    lang: Annotated[str, typer.Option(metavar="en|zh", help="Language of page.html and sheet.xlsx.")] = "en",
) -> None:
    """Capture a translation with everything that the model computed on the way, and write it to a file."""
    from sightline.files import readable_size, write_atomically
    from sightline.serve.exports import written
    from sightline.serve.offline import LEVELS
    from sightline.serve.schema import DecodeRequest, Refusal, RunRequest
    from sightline.serve.workshop import Workshop

    if lang not in ("en", "zh"):
        raise ConfigError(f"--lang {lang}: give en or zh.")
    if to is not None and (len(to) > 40 or not to.isprintable()):
        raise ConfigError(f"--to {to[:40]!r} is no language: give the short name of one, such as zh.")
    if data not in LEVELS:
        raise ConfigError(f"--data {data}: give {', '.join(LEVELS)}.")
    form = None if out is None else FORMS.get(out.suffix.lower())
    if out is not None and form is None:
        raise ConfigError(f"--out {out}: let the name end in {', '.join(FORMS)}, which says what is written.")
    if out is not None and out.is_dir():
        raise ConfigError(f"--out {out} is a folder: give the name of a file.")
    made = [] if out is None else [each for each in out.absolute().parents if not each.exists()]
    workshop = Workshop([] if model is None else [model])
    try:
        [name] = workshop.folders
        decode = DecodeRequest(method="greedy" if beam == 1 else "beam", beam=beam)
        capture, _ = workshop.run(
            RunRequest(model=name, src=_short(sentence), tgt=tgt and _short(tgt), to=to, decode=decode)
        )
        if out is None or form is None:
            _print(capture)
            return
        place = (None if layer is None else layer - 1), (None if head is None else head - 1)
        write_atomically(out, written(workshop, capture, form, lang, stack, *place, data))
    except Refusal as refusal:
        raise _said(refusal) from refusal
    finally:
        workshop.close()
    size = out.stat().st_size
    print(capture.manifest.translation)
    if made:
        print(f"Made the folder {out.parent}")
    print(f"Written: {out} ({readable_size(size)})")
    if form == "html" and size > LARGE:
        smaller = "" if data == "view" else ", or give --data view, which holds the attention maps alone"
        print(
            f"warning: {out} has {readable_size(size)}, which browsers open slowly and many a mail refuses: take a shorter "
            f"sentence{smaller}.",
            file=sys.stderr,
        )


def _short(text: str) -> str:
    """Raises UserError for a text that is too long to be read at all, or is none."""
    from sightline.serve.schema import TEXT

    if any("\ud800" <= sign <= "\udfff" for sign in text):  # as Python holds bytes that it cannot read
        raise UserError("The text holds bytes that are no UTF-8: type it again, or save the file it is from as UTF-8.")
    if len(text) > TEXT:
        raise UserError(f"The text has {len(text):,} characters, and {TEXT:,} are read: take a shorter one.")
    return text


def _said(refusal: Exception) -> UserError:
    """What the API refuses in a code, as a sentence."""
    from sightline.serve.schema import Refusal

    assert isinstance(refusal, Refusal)
    values = refusal.values
    match refusal.code:
        case "unknown_head":
            return ConfigError(
                f"{values['stack']} has no layer {int(values['layer']) + 1} with a head {int(values['head']) + 1}: both are "
                "counted from 1."
            )
        case "unknown_stack":
            return ConfigError(f"--stack {values['stack']}: this model has {values['known']}.")
        case "no_attention":
            return ConfigError(
                "This model has no attention, so there are no word links and no head to write: give a file that ends in .html "
                "or .ttrace."
            )
        case "model_too_large":
            return ConfigError(
                f"The model has {values['parameters']:,} parameters, and --data model takes {values['limit']:,} at most: "
                "give --data run, which holds the weights of attention."
            )
        case "sheet_too_large":
            return ConfigError(
                f"A side has {values['tokens']} tokens, and a workbook holds {values['limit']}: take a shorter one."
            )
        case "extra_missing":
            return ConfigError("A workbook needs XlsxWriter, which is not installed: pip install 'sightline[explore]'.")
        case "page_not_built":
            return ConfigError(
                "This copy of sightline has no serve/static/offline.html: give `make web` in its source."
            )
    cause = refusal.__cause__
    return cause if isinstance(cause, UserError) else UserError(f"This cannot be done: {refusal.code}.")


def _print(capture: "Capture") -> None:
    manifest = capture.manifest
    print(manifest.translation)
    if not manifest.heads:
        print("this model has no attention: nothing of it can be seen there")
        return
    named = [each for each in manifest.heads if each.name is not None]
    for each in named:
        print(f"{each.stack} layer {each.layer + 1} head {each.head + 1}: {each.name} ({each.score:.2f})")
    print(f"{len(named)} of {len(manifest.heads)} heads do something that has a name in this sentence")
