"""A corpus ready to train on: what `prepare` leaves in a folder, and whether it still belongs to its files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sightline.data.evaluation import Example, load_examples
from sightline.data.report import Report
from sightline.data.settings import DataSettings
from sightline.data.text import Pairs
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import DataError
from sightline.files import sha256

_VERSION = 4


@dataclass(frozen=True)
class Prepared:
    """A folder written by `prepare`."""

    folder: Path
    tokenizer: Tokenizer
    report: Report
    hashes: dict[str, str]
    """SHA-256 of the files read, and of the evaluation sets as they are used."""
    src_lang: str = ""
    tgt_lang: str = ""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a prepared folder. Raises DataError when it is damaged."""
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            report = Report.from_json((folder / "report.json").read_text(encoding="utf-8"))
            found = meta["hashes"], meta["src_lang"], meta["tgt_lang"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{folder} is not a whole prepared corpus ({error}). Delete the folder and run again."
            ) from error
        return cls(folder, Tokenizer.load(folder / "tokenizer.json"), report, *found)

    def train(self) -> Pairs:
        """The tokenised training pairs, memory-mapped."""
        return Pairs.open(self.folder, "train")

    def evaluation(self, name: str) -> list[Example]:
        """The examples of "valid" or "test"; none if there is no such set."""
        return load_examples(self.folder / f"{name}.jsonl")


def reopen(data: DataSettings, folder: Path, base: Path) -> Prepared:
    """The corpus that a run began with: its vocabulary and its sets belong to the weights, so nothing is made anew.

    Raises DataError if a file that it was made of has changed since; files that are gone are not needed any more.
    """
    prepared = Prepared.open(folder)
    files = [path for corpus in data.corpora() for path in corpus.paths(base) if path.is_file()]
    for path in files:
        earlier = prepared.hashes.get(known_as(path, files))
        about = path.stat()  # a file put in its place may have kept an older st_mtime, but not st_ctime
        changed = max(about.st_mtime, about.st_ctime) > (folder / "meta.json").stat().st_mtime
        if changed and earlier is not None and sha256(path) != earlier:
            raise DataError(
                f"{path} has changed since this run began with it, and the run goes on only with the text it knows. "
                "Put the earlier file back, or train on the new one in another folder (--out)."
            )
    return prepared


def known_as(path: Path, files: Sequence[Path]) -> str:
    """How a file is named in `hashes`: by its name, with its folder where two have the same."""
    alike = [other for other in files if other.name == path.name]
    return path.name if len(set(alike)) < 2 else f"{path.parent.name}/{path.name}"


def fingerprint_of(data: DataSettings, tokenizer: TokenizerSettings | Tokenizer, base: Path) -> str:
    """A hash of all that the result depends on: settings, and name, size and time of every file."""
    files = [path for corpus in data.corpora() for path in corpus.paths(base)]
    seen = [(str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    text = tokenizer.to_json() if isinstance(tokenizer, Tokenizer) else tokenizer.model_dump_json()
    settings = data.model_dump(mode="json", exclude={"path"})
    return hashlib.sha256(json.dumps([_VERSION, settings, text, seen]).encode()).hexdigest()


def written_with(folder: Path) -> str | None:
    """The fingerprint of what lies in `folder`, if it is whole."""
    try:
        return json.loads((folder / "meta.json").read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
