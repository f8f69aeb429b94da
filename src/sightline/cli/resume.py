"""An output file that is written line by line, and gone on with after a stop."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from sightline.errors import UserError
from sightline.files import explain_os_errors, write_atomically


@contextlib.contextmanager
def resumable(output: Path, made_of: Mapping[str, Any]) -> Iterator[tuple[TextIO, int]]:
    """Give a file to write lines into, and how many are there already. It lies beside `output`, under its name and `.part`, until
    the `with` block ends well; then it becomes `output`. Whatever stops the block, even a `kill -9`, leaves it for the next call.

    Raises UserError if the lines that are there were made of something else than `made_of` says.
    """
    part, about = output.with_name(f"{output.name}.part"), output.with_name(f"{output.name}.part.json")
    said = json.dumps(made_of, sort_keys=True, ensure_ascii=False, default=str)
    with explain_os_errors(output, doing="write"):
        output.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and (not about.is_file() or about.read_text(encoding="utf-8") != said):
            raise UserError(
                f"{part} holds lines of an earlier call with another text, model or settings. Give those again, or delete it "
                "to begin anew."
            )
        done = _cut(part) if part.exists() else 0
        write_atomically(about, said)
        with open(part, "a", encoding="utf-8", newline="\n") as sink:
            yield sink, done
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(part, output)
        about.unlink(missing_ok=True)


def known_by(file: Path) -> list[Any]:
    """What tells a file from another one, or from what it was earlier: its whole name, size and time (ns)."""
    about = file.stat() if file.is_file() else None
    return [str(file.resolve()), None if about is None else [about.st_size, about.st_mtime_ns]]


def _cut(part: Path) -> int:
    """Leave out a last line that was not written to its end. Returns the lines that are left."""
    lines = whole = at = 0
    with open(part, "rb+") as file:
        for line in file:
            at += len(line)
            if line.endswith(b"\n"):
                lines, whole = lines + 1, at
        file.truncate(whole)
    return lines
