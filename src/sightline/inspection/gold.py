"""Alignments that people made, read from files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sightline.data.lines import open_lines
from sightline.errors import DataError
from sightline.metrics.alignment import Gold, read_pharaoh


def read_gold(path: Path, first: int = 0) -> list[Gold]:
    """A line of links for each sentence pair, "3-4 1p2", words counted from `first`.

    Raises DataError naming the line that holds something else, or the file that cannot be read.
    """
    found = []
    for number, line in open_lines(path):
        with _naming(path, number):
            found.append(read_pharaoh(line, first))
    return found


def check_gold(path: Path, gold: Sequence[Gold], pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> None:
    """Raises DataError if `path` has not as many lines as there are `pairs` of sentences in words, or naming the line that links
    a word its pair does not have.
    """
    if len(gold) != len(pairs):
        raise DataError(f"{path} has {len(gold):,} lines, and there are {len(pairs):,} sentence pairs.")
    for number, (links, (src, tgt)) in enumerate(zip(gold, pairs, strict=True), 1):
        with _naming(path, number):
            links.check(len(src), len(tgt))


@contextmanager
def _naming(path: Path, number: int) -> Iterator[None]:
    """A mistake inside is told with file and line."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path} line {number}: {error}") from error
