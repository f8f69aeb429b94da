"""Parallel text from files, plain or compressed, one pair at a time; every complaint names the file and the line."""

import csv
import html
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from sightline.config import Settings
from sightline.data.lines import COMPRESSED, open_lines, similar_name
from sightline.errors import DataError, nearest
from sightline.files import explain_os_errors

BUNDLED = Path(__file__).resolve().parent.parent / "corpora"
"""The texts that come with sightline: a file `bundled:NAME` is one of them."""

_NO_CODES = {
    "cn": "zh",
    "jp": "ja",
    "kr": "ko",
    "cz": "cs",
    "gr": "el",
    "ua": "uk",
    "chinese": "zh",
    "english": "en",
    "french": "fr",
    "german": "de",
    "japanese": "ja",
    "korean": "ko",
    "spanish": "es",
}
"""Names that people give a language by mistake: its text would be scored by the wrong rules."""


class CorpusSettings(Settings):
    """Where pairs of sentences come from: two files, line by line (`src`, `tgt`), or one file of pairs (`pairs`)."""

    src: str | None = None
    """File of source sentences, one a line; plain or .gz, .xz, .bz2, .zst."""
    tgt: str | None = None
    """File of their translations, line by line."""
    pairs: str | None = None
    """One file that holds both: TSV, CSV, JSONL (also compressed), Parquet; or a Hub data set NAME[:CONFIG[:SPLIT]]. A file
    that comes with sightline is bundled:NAME."""
    pivoted_with: str | None = None
    """A second file like `pairs`, its sources in the same language, the pivot (Utiyama and Isahara 2007). The corpus is then
    what the two files have as translations of the same source: English-German `pairs`, pivoted with English-French ones, give
    German and French. Each of those translations is used, none more often than it must be; the second file is held in memory."""
    format: Literal["auto", "tsv", "csv", "jsonl", "parquet", "hub"] = "auto"
    """Format of `pairs`; auto goes by the file's ending."""
    columns: tuple[int | str, int | str] = (0, 1)
    """Source and target column of `pairs`: numbers from 0 (of JSON objects, those of their texts), or names (the header of a
    TSV or CSV; fields such as "translation.en" of JSONL, Parquet and Hub)."""
    src_lang: str = ""
    """Source language, such as "en"."""
    tgt_lang: str = ""
    """Target language, such as "zh"."""
    weight: float = 1.0
    """How often the pairs of this corpus are drawn in training, relative to the others."""
    unescape: bool = False
    """Turn HTML entities into characters: &amp; into &."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.pairs is None) == (self.src is None and self.tgt is None):
            raise ValueError("a corpus is two files (src and tgt) or one (pairs): give one of the two ways")
        if self.pairs is None and (self.src is None or self.tgt is None):
            raise ValueError(
                f"{'src' if self.src is None else 'tgt'} is missing: a corpus of two files needs src and tgt"
            )
        if self.pairs is None and self.pivoted_with is not None:
            raise ValueError("pivoted_with is for files of pairs: give the first one as pairs")
        if self.pairs is None and self.format != "auto":
            raise ValueError(f"format = {self.format!r} is for one file of pairs: give pairs, or leave format out")
        for name in ("src_lang", "tgt_lang"):
            if not re.fullmatch(r"[\w-]*", getattr(self, name)):
                raise ValueError(f"{name} is a code such as en, zh or pt-BR, not {getattr(self, name)!r}")
            if (meant := _NO_CODES.get(getattr(self, name).lower())) is not None:
                raise ValueError(f"{name} is a code of ISO 639, and {getattr(self, name)!r} is none: write {meant!r}")
        if not 0 < self.weight < float("inf"):
            raise ValueError(f"weight must be above 0, not {self.weight}")
        if any(isinstance(column, int) and column < 0 for column in self.columns):
            raise ValueError(f"columns count from 0, so {list(self.columns)} cannot be")
        return self

    def names(self) -> str:
        """The file or files, to be read by people."""
        if self.pairs is None:
            return f"{self.src} + {self.tgt}"
        return self.pairs if self.pivoted_with is None else f"{self.pairs} pivoted with {self.pivoted_with}"

    def place(self, line: int) -> str:
        """Where a pair stands, to be read by people: "train.en:12"."""
        return f"{Path(str(self.pairs or self.src)).name}:{line}"

    def paths(self, folder: Path) -> list[Path]:
        """The files read, relative names taken from `folder`; none for a Hub set."""
        if self.pairs is not None:
            names = (self.pairs, *([] if self.pivoted_with is None else [self.pivoted_with]))
            return [] if self.format == "hub" else [_path(folder, name) for name in names]
        return [_path(folder, name) for name in (self.src, self.tgt) if name is not None]


@dataclass(frozen=True, slots=True)
class Row:
    """A pair of sentences and where it stands: its line, or record, counted from 1."""

    src: str
    tgt: str
    line: int


def read_pairs(corpus: CorpusSettings, folder: Path) -> Iterator[Row]:
    """The pairs of a corpus in their order, empty ones included; relative file names are taken from `folder`.

    Raises DataError, naming file and line, for whatever cannot be read as pairs of UTF-8 text.
    """
    for row in _rows(corpus, folder):
        yield Row(html.unescape(row.src), html.unescape(row.tgt), row.line) if corpus.unescape else row


def _path(folder: Path, name: str) -> Path:
    """The file of this name, or the same unpacked where only that is there."""
    bundled = name.startswith("bundled:")
    path = BUNDLED / name.removeprefix("bundled:") if bundled else Path(folder) / Path(name).expanduser()
    packed = path.suffix in COMPRESSED
    return path.with_suffix("") if packed and not path.exists() and path.with_suffix("").exists() else path


def _rows(corpus: CorpusSettings, folder: Path) -> Iterator[Row]:
    if corpus.pairs is None:
        src, tgt = corpus.paths(folder)
        return _two_files(src, tgt)
    if corpus.pivoted_with is not None:
        return _pivoted(corpus, folder)
    kind = _format(corpus)
    if kind == "hub":
        return _hub(corpus.pairs, corpus)
    path = _path(folder, corpus.pairs)
    if kind == "parquet":
        return _parquet(path, corpus)
    return {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl}[kind](path, corpus.columns)


def _pivoted(corpus: CorpusSettings, folder: Path) -> Iterator[Row]:
    """Translations of the same sentence in two files, numbered as in the first: the first of its translations in one with the
    first in the other, and so on; whichever file has fewer begins again.
    """
    files = [
        corpus.model_copy(update={"pairs": name, "pivoted_with": None}) for name in (corpus.pairs, corpus.pivoted_with)
    ]
    found: list[dict[str, list[Row]]] = [{}, {}]
    for k in (1, 0):
        for row in _rows(files[k], folder):
            if row.src and row.tgt and (k == 1 or row.src in found[1]):
                found[k].setdefault(row.src, []).append(row)
    for source, ours in found[0].items():
        theirs = found[1][source]
        for i in range(max(len(ours), len(theirs))):
            mine = ours[i % len(ours)]
            yield Row(mine.tgt, theirs[i % len(theirs)].tgt, mine.line)


def _format(corpus: CorpusSettings) -> str:
    if corpus.format != "auto":
        return corpus.format
    name = str(corpus.pairs).lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    known = {".tsv": "tsv", ".txt": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
    known[".parquet"] = "parquet"
    ending = Path(name).suffix
    if ending not in known:
        raise DataError(
            f"the format of {corpus.pairs} cannot be told from its name. Name it .tsv, .csv, .jsonl or .parquet, or "
            "set format = 'tsv', 'csv', 'jsonl', 'parquet' or 'hub'."
        )
    return known[ending]


def _two_files(src: Path, tgt: Path) -> Iterator[Row]:
    end = (0, None)
    sources, targets = open_lines(src), open_lines(tgt)
    for (number, source), (target_number, target) in itertools.zip_longest(sources, targets, fillvalue=end):
        if source is None or target is None:
            others = (text for _, text in (targets if source is None else sources))
            rest = itertools.chain([source or target or ""], others)
            raise _unequal(src, tgt, (number or target_number) - 1, source is None, rest)
        yield Row(source, target, number)


def _unequal(src: Path, tgt: Path, shared: int, target_longer: bool, rest: Iterator[str]) -> DataError:
    extra = filled = 0
    for text in rest:
        extra, filled = extra + 1, filled + bool(text.strip())
    longer = tgt if target_longer else src
    remedy = (
        f"{longer.name} is longer: somewhere above, lines were added or lost, so align the two again."
        if filled
        else f"The lines that {longer.name} has more are empty: remove them at its end."
    )
    n_src, n_tgt = (shared, shared + extra) if target_longer else (shared + extra, shared)
    return DataError(
        f"{src} has {n_src:,} lines and {tgt} has {n_tgt:,}, but line by line each must translate the other. {remedy}"
    )


def _tsv(path: Path, columns: tuple[int | str, int | str]) -> Iterator[Row]:
    lines = ((number, text.split("\t")) for number, text in open_lines(path))
    return _table(path, lines, columns, "tabs")


def _csv(path: Path, columns: tuple[int | str, int | str]) -> Iterator[Row]:
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for number, text in open_lines(path):
            last = number
            yield text + "\n"

    def records() -> Iterator[tuple[int, list[str]]]:
        source = lines()
        first = next(source, "")
        delimiter = ";" if ";" in first and "," not in first else ","
        reader = csv.reader(itertools.chain([first], source), delimiter=delimiter, strict=True)
        begin = 1
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(
                    f"{path} line {begin} is not CSV ({error}): a quotation mark inside a field must be doubled, "
                    "and a field that begins with one must end with one."
                ) from error
            yield begin, record
            begin = last + 1

    return _table(path, records(), columns, "commas")


def _table(
    path: Path, records: Iterator[tuple[int, list[str]]], columns: tuple[int | str, int | str], separator: str
) -> Iterator[Row]:
    if any(isinstance(column, str) for column in columns):
        header = [name.strip() for name in next(records)[1]]
        columns = tuple(_column_number(path, header, column) for column in columns)  # pyright: ignore[reportAssignmentType]
    src, tgt = (int(column) for column in columns)
    for number, fields in records:
        if len(fields) > max(src, tgt):
            yield Row(fields[src], fields[tgt], number)
        elif not any(fields):
            yield Row("", "", number)
        else:
            shown = (text := " ".join(fields))[:60] + ("..." if len(text) > 60 else "")
            raise DataError(
                f"{path} line {number} has {len(fields)} column{'s' * (len(fields) != 1)} separated by {separator}, "
                f"but columns {src} and {tgt} (counted from 0) are asked for. Mend it, or set columns or format. "
                f'The line reads: "{shown}".'
            )


def _column_number(path: Path, header: list[str], column: int | str) -> int:
    if isinstance(column, int):
        return column
    if column not in header:
        raise DataError(
            f"{path} line 1 names no column {column!r}.{nearest(column, header)} It names: {', '.join(header)[:200]}. "
            "Set columns to two of these, or to numbers from 0 if the file has no header."
        )
    return header.index(column)


def _jsonl(path: Path, columns: tuple[int | str, int | str]) -> Iterator[Row]:
    for number, text in open_lines(path):
        if not text.strip():
            yield Row("", "", number)
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            remedy = (
                f"The file seems to be one JSON list; write one object a line: jq -c '.[]' {path.name}"
                if number == 1 and text.lstrip().startswith("[")
                else "Each line must be one JSON object."
            )
            raise DataError(f"{path} line {number} is not JSON ({error}). {remedy}") from error
        yield _record(f"{path} line {number}", record, columns, number)


def _record(where: str, record: Any, columns: tuple[int | str, int | str], number: int) -> Row:
    source, target = (_field(where, record, column) for column in columns)
    return Row(source, target, number)


def _field(where: str, record: Any, column: int | str) -> str:
    if isinstance(column, int) and isinstance(record, dict):  # the first text, the second text ...
        texts = [name for name, value in record.items() if isinstance(value, str)]
        column = texts[column] if column < len(texts) else column
    whole = isinstance(column, int) or (isinstance(record, dict) and column in record)
    keys: Any = [column] if whole else str(column).split(".")
    value = record
    for key in keys:
        in_list = isinstance(key, int) and isinstance(value, list) and key < len(value)
        if in_list or (isinstance(value, dict) and key in value):
            value = value[key]
        else:
            found = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
            guess = nearest(key, value) if isinstance(value, dict) and isinstance(key, str) else ""
            raise DataError(
                f"{where} has no field {column!r}.{guess} It has: {found[:200]}. Set columns to the names of the "
                "source and the target field, as in columns = ['en', 'de'] or ['translation.en', 'translation.de']."
            )
    if not isinstance(value, str):
        raise DataError(f"{where}: the field {column!r} is {json.dumps(value, default=str)[:60]}, and text is needed.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: the field {column!r} holds half a surrogate pair, which is no character. Mend it."
        ) from error
    return value


def _parquet(path: Path, corpus: CorpusSettings) -> Iterator[Row]:
    with explain_os_errors(path, doing="read"):
        if not path.exists():
            raise DataError(f"{path} does not exist.{similar_name(path)}")
    return _load(str(path), corpus, "parquet", data_files=str(path), split="train")


def _hub(name: str, corpus: CorpusSettings) -> Iterator[Row]:
    data_set, _, rest = name.partition(":")
    config, _, split = rest.partition(":")
    return _load(name, corpus, data_set, name=config or None, split=split or "train")


def _load(where: str, corpus: CorpusSettings, *arguments: str, **options: Any) -> Iterator[Row]:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(f"reading {where} needs the package datasets: pip install datasets") from error
    try:
        records = iter(datasets.load_dataset(*arguments, **options, streaming=True))
        for number in itertools.count(1):
            if (record := next(records, None)) is None:
                return
            yield _record(f"{where} record {number}", record, corpus.columns, number)
    except DataError:
        raise
    except Exception as error:  # of many packages below
        raise DataError(
            f"{where} cannot be read ({type(error).__name__}: {str(error)[:200]}). "
            "Check its name, its columns and the network."
        ) from error
