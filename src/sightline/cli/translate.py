"""`sightline translate`."""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TextIO

import typer

from sightline.errors import DataError, UserError
from sightline.files import atomic_file, readable_os_error

if TYPE_CHECKING:
    from sightline.runtime.translator import Translator
    from sightline.tasks.search import Translated

WINDOW = 4096
"""Lines of a file that are translated together at most: fewer at first, so that the first answer comes soon."""
FIRST = 64
WAITING = 512
"""Lines that have arrived on the standard input and are translated together at most."""


def translate(
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="TEXT", help="What to translate; without it, lines of --file or of the standard input."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Folder of a trained model; several translate together. Without it the built-in one."
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Translate the lines of this file.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the translations to this file, not to the standard output."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Write --output line by line, and go on where an earlier such call was stopped."),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="LANG",
            help="Target language: zh, en, de, fr ... Without it Chinese goes to English, the rest to Chinese.",
        ),
    ] = None,
    beam: Annotated[
        int | None, typer.Option(metavar="N", help="Beam width; 1 is greedy. The model's own setting without it.")
    ] = None,
    n_best: Annotated[
        int | None,
        typer.Option(metavar="N", help="Show so many translations of each line: its number, the score, the text."),
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(metavar="X", help="Above the model's own: longer translations.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Every translation begins so.")] = "",
    include: Annotated[
        list[str] | None, typer.Option(metavar="PHRASE", help="Every translation holds it; may be given several times.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PHRASE", help="No translation holds it; may be given several times.")
    ] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Draw translations at random instead.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of [decoding], as in temperature=0.8."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="FORMAT",
            help="Number format: fp32, bf16, int8 (with the extra `native`), fp16, or auto: the fastest.",
        ),
    ] = "auto",
    shortlist: Annotated[
        bool,
        typer.Option(
            "--shortlist", help="Compute only the few tokens that `sightline shortlist` has learned for each sentence."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: source, translation, score, n-best list.")
    ] = False,
) -> None:
    """Translate text: one line in, one line out, flushed."""
    if texts and file is not None:
        raise UserError("Both text and --file were given: give one of the two.")
    from sightline.config import Document, apply_overrides
    from sightline.runtime.translator import load

    translator = load(model, precision, shortlist)
    given = {"beam": beam, "n_best": n_best, "length_penalty": length_penalty, "sample": sample or None}
    decoding = apply_overrides(Document({}), settings or ()).tree
    decoding |= {name: value for name, value in given.items() if value is not None}
    wanted = translator.wanted(prefix, include or (), exclude or ())
    translator.settings(**decoding)  # a wrong setting is said before anything is read
    decoding["wanted"] = wanted
    for text in texts or []:
        if os.path.isfile(text):  # not Path.is_file, which fails on a text too long to be a name
            print(
                f"note: {text} is translated as a text; to translate the lines of that file: --file {text}",
                file=sys.stderr,
            )
    if resume and (file is None or output is None or (decoding.get("n_best", 1) > 1 and not as_json)):
        raise UserError(
            "--resume needs --file and --output, and a line for each of its lines: leave out --n-best, or add --json."
        )
    batches = iter([_one_line(texts)]) if texts else _batches(file)
    if output is None:
        _run(translator, batches, to, decoding, as_json, sys.stdout)
        return
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: give the name of a file.")
    if file is not None and output.exists() and output.samefile(file):
        raise UserError(
            f"--file and --output are both {output}, and the translations would replace the text: give another --output."
        )
    if resume and file is not None:
        from sightline.cli.resume import known_by, resumable

        made_of = {
            "file": known_by(file),
            "model": [known_by(folder / "model.safetensors") for folder in model or ()],
            "to": to,
            "precision": precision,
            "shortlist": shortlist,
            "json": as_json,
            **decoding,
        }
        with resumable(output, made_of) as (sink, done):
            _run(translator, _without_first(batches, done), to, decoding, as_json, sink, done)
        return
    with atomic_file(output) as sink:
        _run(translator, batches, to, decoding, as_json, sink)


def _without_first(batches: Iterator[list[str]], count: int) -> Iterator[list[str]]:
    """Groups of lines without the first `count` of all lines."""
    for lines in batches:
        if left := lines[count:]:
            yield left
        count = max(0, count - len(lines))


def _run(
    translator: "Translator",
    batches: Iterator[list[str]],
    to: str | None,
    decoding: dict[str, Any],
    as_json: bool,
    sink: TextIO,
    number: int = 0,
) -> None:
    for lines in batches:
        for line, found in zip(lines, translator.translate(lines, to, **decoding), strict=True):
            number += 1
            if found[0].truncated:
                most = translator.bundle.config.model.max_len
                print(f"warning: line {number} is longer than {most} tokens; the rest was left out", file=sys.stderr)
            print(_shown(number, line, found, as_json, decoding.get("n_best", 1)), file=sink, flush=True)


def _shown(number: int, line: str, found: "list[Translated]", as_json: bool, n_best: int) -> str:
    if as_json:
        best = found[0]
        content = {"source": line, "translation": best.text, "score": round(best.score, 6)}
        if n_best > 1:
            content["n_best"] = [{"translation": t.text, "score": round(t.score, 6)} for t in found]
        return json.dumps(content, ensure_ascii=False)
    if n_best == 1:
        return found[0].text
    return "\n".join(f"{number}\t{t.score:.4f}\t{t.text}" for t in found)


def _one_line(texts: list[str]) -> list[str]:
    """Texts from the command line; a line break inside one is a blank, so that a text stays a line."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"The text {text!r} is not UTF-8. Convert it first, or give it in a file.") from error
    return [" ".join(text.splitlines()) for text in texts]


def _batches(file: Path | None) -> Iterator[list[str]]:
    """Lines in groups: all that are there already, so that a slow writer is answered at once and a file goes in bulk."""
    if file is None:
        if sys.stdin is None:
            raise UserError("There is no standard input to read: give the text, or --file.")
        if sys.stdin.isatty():
            print("Type a line to translate; end with Ctrl-D.", file=sys.stderr)
        yield from _arriving(sys.stdin.buffer, "the standard input")
        return
    from sightline.data.lines import open_lines

    group: list[str] = []
    size = min(FIRST, WINDOW)
    for _, line in open_lines(file):
        group.append(line)
        if len(group) == size:
            yield group
            group, size = [], min(2 * size, WINDOW)
    if group:
        yield group


def _arriving(stream: BinaryIO, name: str) -> Iterator[list[str]]:
    from sightline.data.lines import LONGEST_LINE, decoded_line

    arrived: queue.Queue[bytes | None] = queue.Queue(2 * WAITING)
    refused: list[OSError] = []

    def read() -> None:
        try:
            for line in iter(lambda: stream.readline(LONGEST_LINE + 1), b""):
                arrived.put(line)
        except OSError as error:
            refused.append(error)
        finally:
            arrived.put(None)

    threading.Thread(target=read, daemon=True, name="stdin").start()
    number, more = 0, True
    while more:
        group = [arrived.get()]
        while len(group) < WAITING and group[-1] is not None and not arrived.empty():
            group.append(arrived.get())
        more = group[-1] is not None
        lines: list[str] = []
        problem: DataError | None = None
        for raw in group:
            if raw is None:
                break
            number += 1
            try:
                lines.append(decoded_line(raw, name, number))
            except DataError as error:  # what came before is still translated
                problem = error
                break
        if lines:
            yield lines
        if problem is not None:
            raise problem
    if refused:
        raise readable_os_error(refused[0], name, "read")
