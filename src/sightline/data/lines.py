"""Lines of text from a file, plain or compressed, checked as they are read."""

import bz2
import contextlib
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from sightline.errors import DataError, nearest
from sightline.files import explain_os_errors

LONGEST_LINE = 1_000_000
"""In bytes; a longer one is no sentence."""
COMPRESSED = (".gz", ".xz", ".bz2", ".zst")
"""How the names of compressed files end; what they are is told by their content."""


def open_lines(path: Path) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file with their numbers, from 1; "\n" and "\r\n" end a line, nothing else does.

    gzip, xz, bzip2 and Zstandard are recognised by content. Raises DataError for a missing, empty, binary, damaged or
    wrongly encoded file and for a line beyond LONGEST_LINE; a byte order mark is dropped.
    """
    number = 0
    with explain_os_errors(path, doing="read"), _open(path) as stream:
        while raw := _next_line(stream, path, number + 1):
            number += 1
            yield number, decoded_line(raw, path, number)
    if number == 0:
        raise DataError(f"{path} is empty: it should hold one sentence a line. Was it written completely?")


def decoded_line(raw: bytes, path: str | Path, number: int) -> str:
    """Line `number` of a file (or of a stream, by its name) as text, without its end. Raises DataError unless it is UTF-8."""
    if len(raw) > LONGEST_LINE:
        raise DataError(
            f"{path} line {number} is longer than {LONGEST_LINE / 1e6:g} MB, which is no sentence. "
            "It should hold one sentence a line: is it the right text, with line ends?"
        )
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number, raw, error) from error
    if "\0" in text:
        raise DataError(
            f"{path} line {number} holds a zero byte: it is a binary file, or text in UTF-16. "
            "If it is UTF-16, convert it: iconv -f utf-16 -t utf-8"
        )
    return text.removesuffix("\n").removesuffix("\r")


def sample_lines(lines: Iterable[str], most: int) -> list[str]:
    """At most `most` lines, each equally likely to stay, in their own order; the choice depends on line numbers only.

    Reservoir sampling (Vitter 1985, algorithm R, with a fixed seed); memory is that of the sample.
    """
    generator, kept = random.Random(0), []
    for number, line in enumerate(lines):
        if number < most:
            kept.append((number, line))
        elif (place := generator.randrange(number + 1)) < most:
            kept[place] = (number, line)
    kept.sort()
    return [line for _, line in kept]


def similar_name(path: Path) -> str:
    """What to say of a file that does not exist: the most similar name beside it, or what there is."""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent} either: check the path."
    names = [item.name for item in path.parent.iterdir()]
    shown = ", ".join(sorted(names)[:5]) or "nothing"
    return nearest(path.name, names) or f" The folder {path.parent} holds {shown}."


class _Zstandard(io.RawIOBase):
    """A reader of Zstandard frames that notices a file cut short, which zstandard's own reader passes over."""

    def __init__(self, source: IO[bytes]):
        self._source, self._frame, self._ready = source, zstandard.ZstdDecompressor().decompressobj(), b""
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if self._frame.eof:
                data, self._begun = self._frame.unused_data, False
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            else:
                data = b""
            data = data or self._source.read(1 << 16)
            if not data:
                if self._begun:
                    raise EOFError("the compressed data stop in the middle")
                return 0
            self._begun = True
            self._ready = self._frame.decompress(data)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count


_MAGIC: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": _Zstandard,
}
_FOREIGN = {
    b"\xff\xfe": "text in UTF-16: convert it with iconv -f utf-16 -t utf-8 {name} > new-{name}",
    b"\xfe\xff": "text in UTF-16: convert it with iconv -f utf-16 -t utf-8 {name} > new-{name}",
    b"PK\x03\x04": "a zip archive (or a spreadsheet): unpack it, or save the sheet as CSV in UTF-8, and give that file",
    b"PAR1": "a Parquet file: give it as pairs, with format = 'parquet'",
    b"%PDF": "a PDF: text is needed, one sentence a line",
}


@contextlib.contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    if path.is_dir():
        inside = ", ".join(sorted(item.name for item in path.iterdir())[:5]) or "nothing"
        raise DataError(f"{path} is a folder, and a file is needed. It holds {inside}: give one of its files.")
    if not path.exists():
        raise DataError(f"{path} does not exist.{similar_name(path)}")
    with open(path, "rb") as file:
        start = file.read(6)
        file.seek(0)
        for magic, remedy in _FOREIGN.items():
            if start.startswith(magic):
                raise DataError(f"{path} is {remedy.format(name=path.name)}")
        for magic, opener in _MAGIC.items():
            if start.startswith(magic):
                with opener(file) as unpacked:
                    yield io.BufferedReader(unpacked, 1 << 20)
                return
        yield file


def _next_line(stream: IO[bytes], path: Path, number: int) -> bytes:
    try:
        return stream.readline(LONGEST_LINE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
        raise _damaged(path, number, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 reports damage so
            raise _damaged(path, number, error) from error
        raise


def _damaged(path: Path, number: int, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged or cut short: unpacking stopped at line {number} ({error}). "
        "Copy or download the file again."
    )


def _not_utf8(path: str | Path, number: int, raw: bytes, error: UnicodeDecodeError) -> DataError:
    if raw.count(b"\0") > len(raw) // 8:
        remedy = "it is a binary file or text in UTF-16"
    else:
        around = raw[max(0, error.start - 20) : error.start + 20].decode("utf-8", "backslashreplace").strip()
        files = f" {path.name} > new-{path.name}" if isinstance(path, Path) else ""
        remedy = f'near "{around}". If the text is in another encoding, say Latin-1, convert it: iconv -f latin1 -t utf-8{files}'
    return DataError(f"{path} line {number}: byte {error.start + 1} (0x{raw[error.start]:02X}) is not UTF-8, {remedy}")
