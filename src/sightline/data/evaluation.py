"""Validation and test sets: sources with their references, for each target language."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from sightline.data.sides import Profile
from sightline.data.sources import CorpusSettings, Row, read_pairs
from sightline.data.survey import keys, sentence_key, tidy
from sightline.data.tokenizers import Tokenizer
from sightline.errors import DataError

Directions = Sequence[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Example:
    """A source sentence and the translations it is scored against."""

    src: str
    refs: tuple[str, ...]
    to: str = ""
    """The target language that a tag asks for; "" if the model has no tags."""
    src_lang: str = ""
    """The language of the source, if that is known."""

    @property
    def direction(self) -> str:
        """Such as "en-zh"; the target language where that of the source is not known; "" if the model has no tags."""
        return f"{self.src_lang}-{self.to}" if self.src_lang and self.to else self.to


@dataclass
class EvaluationSet:
    """A validation or test set with what is needed to look for it in the training text."""

    origin: str
    examples: list[Example]
    src_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    tgt_keys: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    sides: tuple[Profile, Profile] = field(default_factory=lambda: (Profile(), Profile()))
    empty: int = 0

    @classmethod
    def joined(cls, sets: "Sequence[EvaluationSet]") -> "EvaluationSet":
        """Several sets as one; what the sides look like is not kept."""
        return cls(
            origin=", ".join(found.origin for found in sets),
            examples=[example for found in sets for example in found.examples],
            src_keys=np.concatenate([found.src_keys for found in sets]),
            tgt_keys=np.concatenate([found.tgt_keys for found in sets]),
            empty=sum(found.empty for found in sets),
        )

    def unknown(self, tokenizer: Tokenizer, max_len: int) -> tuple[int, list[str], int]:
        """Tokens that the vocabulary lacks, the first few of their characters or words, and sources beyond max_len."""
        sources = [example.src for example in self.examples]
        targets = [ref for example in self.examples for ref in example.refs]
        encoded = tokenizer.encode_src(sources, [example.to for example in self.examples])
        count, shown = 0, dict[str, None]()
        for texts, ids, encode in (
            (sources, encoded, tokenizer.encode_src),
            (targets, tokenizer.encode_tgt(targets), tokenizer.encode_tgt),
        ):
            for text, row in zip(texts, ids, strict=True):
                if found := row.count(tokenizer.unk_id):
                    count += found
                    if len(shown) < 8:
                        parts = text.split() if tokenizer.settings.kind == "word" else sorted(set(text))
                        rows = encode(parts)
                        shown.update((p, None) for p, r in zip(parts, rows, strict=True) if tokenizer.unk_id in r)
        return count, list(shown)[:8], sum(len(row) > max_len for row in encoded)


def read_set(corpus: CorpusSettings, folder: Path, directions: Directions, merge: bool = False) -> EvaluationSet:
    """Read a validation or test set: its lines in their order, each scored for itself as published figures are, or, with
    `merge`, a source with all its translations once.

    Raises DataError when no pair can be used.
    """
    rows = [Row(tidy(row.src), tidy(row.tgt), row.line) for row in read_pairs(corpus, folder)]
    full = [row for row in rows if row.src and row.tgt]
    if not full:
        raise DataError(f"{corpus.names()} holds no pair with text on both sides: give a set with one pair a line.")
    examples = [_example(corpus, row, *way) for row in full for way in directions]
    return EvaluationSet(
        origin=corpus.names(),
        examples=_merged(examples) if merge else examples,
        src_keys=keys([row.src for row in full]),
        tgt_keys=keys([row.tgt for row in full]),
        sides=(Profile(row.src for row in full), Profile(row.tgt for row in full)),
        empty=len(rows) - len(full),
    )


def held_out(
    rows: Sequence[tuple[CorpusSettings, Row]], directions: Callable[[CorpusSettings], Directions]
) -> EvaluationSet:
    """The set of pairs taken from the training text, in an order that depends on the sentences only.

    A source with several translations appears once, with all of them as its references.
    """
    tidied = [(corpus, Row(tidy(row.src), tidy(row.tgt), row.line)) for corpus, row in rows]
    tidied.sort(key=lambda item: (sentence_key(item[1].src), item[1].src, item[1].tgt))
    examples = (_example(corpus, row, *way) for corpus, row in tidied for way in directions(corpus))
    return EvaluationSet("held out", _merged(examples))


def _example(corpus: CorpusSettings, row: Row, exchanged: bool, to: str) -> Example:
    if exchanged:
        return Example(row.tgt, (row.src,), to, corpus.tgt_lang)
    return Example(row.src, (row.tgt,), to, corpus.src_lang)


def _merged(examples: Iterable[Example]) -> list[Example]:
    """Each source once for every direction, with all its references."""
    refs: dict[tuple[str, str, str], dict[str, None]] = {}
    for example in examples:
        refs.setdefault((example.src, example.to, example.src_lang), {}).update(dict.fromkeys(example.refs))
    return [Example(src, tuple(found), to, src_lang) for (src, to, src_lang), found in refs.items()]


def save_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples as JSONL: {"src", "refs", "to", "src_lang"}."""
    lines = [json.dumps(asdict(example), ensure_ascii=False) + "\n" for example in examples]
    path.write_bytes("".join(lines).encode())


def load_examples(path: Path) -> list[Example]:
    """Read what `save_examples` wrote; nothing if there is no such file. Raises DataError when it is damaged."""
    if not path.exists():
        return []
    try:
        records = [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]
        return [Example(r["src"], tuple(r["refs"]), r["to"], r["src_lang"]) for r in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}). Delete its folder and run again; the corpus is then prepared anew."
        ) from error
