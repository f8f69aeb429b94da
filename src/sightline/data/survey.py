"""The first walk through a corpus: what each pair is worth, in a few bytes a pair, so that any corpus fits memory."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sightline.data.groups import connected_groups
from sightline.data.sides import Profile, check_languages, check_order
from sightline.data.sources import CorpusSettings, read_pairs
from sightline.errors import DataError

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, how many are done, and of how many if that is known."""

KEEP, EMPTY, DUPLICATE, COPY, IN_VALID, IN_TEST, HELD_VALID, HELD_TEST = range(8)
"""What becomes of a pair."""
DROPPED = {
    EMPTY: "one side is empty",
    DUPLICATE: "the same pair again",
    COPY: "both sides are the same",
    IN_VALID: "a sentence of the validation set",
    IN_TEST: "a sentence of the test set",
}
LARGEST_GROUP = 1_000
"""Pairs of a connected group that is left out whole for the sake of a validation or test set; of a larger one, which would be
much of a corpus, only the pairs with a sentence of the set are."""
_MARKS = " .!?…。！？,，;；:：'\"‘’“”«»「」()（）-—"
_CHUNK = 10_000


def tidy(text: str) -> str:
    """The text with every run of whitespace one blank and none at the ends."""
    return " ".join(text.split())


def sentence_key(text: str) -> bytes:
    """A 64-bit hash of what a sentence says: case, whitespace and the marks at its ends do not count.

    "Hi." and "hi!" have one key, so a test sentence cannot hide in the training set behind its full stop.
    """
    folded = tidy(text.casefold())
    return hashlib.blake2b((folded.strip(_MARKS) or folded).encode(), digest_size=8).digest()


def keys(texts: Sequence[str]) -> np.ndarray:
    """uint64 [n]: the `sentence_key` of each text."""
    return np.frombuffer(b"".join(map(sentence_key, texts)), dtype="<u8")


class Survey:
    """What the first walk found, a row a pair over all corpora in turn.

    `src_keys`, `tgt_keys`: uint64 [n], see `sentence_key`. `fate`: uint8 [n], KEEP or why not. `sizes`: pairs read of
    each corpus. `copies`: pairs with both sides the same.
    """

    def __init__(self, corpora: Sequence[CorpusSettings], folder: Path, progress: Progress | None = None):
        self.sizes: list[int] = []
        self.sides: list[tuple[Profile, Profile]] = []
        self.copies = 0
        parts: list[Sequence[np.ndarray]] = []
        for corpus in corpora:
            parts.extend(self._read(corpus, folder, progress))
        self.src_keys, self.tgt_keys, self._pairs, self.fate = map(_join, zip(*parts, strict=True))
        for i, corpus in enumerate(corpora):
            check_languages(self.sides[i], (corpus.src_lang, corpus.tgt_lang), corpus.names())
            if (corpus.src_lang, corpus.tgt_lang) == (corpora[0].src_lang, corpora[0].tgt_lang):
                check_order(self.sides[0], corpora[0].names(), self.sides[i], corpus.names())

    def _read(self, corpus: CorpusSettings, folder: Path, progress: Progress | None) -> Iterator[Sequence[np.ndarray]]:
        src_keys, tgt_keys, pairs, fate = bytearray(), bytearray(), bytearray(), bytearray()
        sides, size, begun = (Profile(), Profile()), 0, sum(self.sizes)
        for row in read_pairs(corpus, folder):
            src, tgt = tidy(row.src), tidy(row.tgt)
            src_keys += sentence_key(src)
            tgt_keys += sentence_key(tgt)
            pairs += hashlib.blake2b(f"{src}\t{tgt}".encode(), digest_size=8).digest()
            same = src == tgt
            self.copies += same and bool(src)
            fate.append(EMPTY if not (src and tgt) else COPY if same else KEEP)
            sides[0].add(src)
            sides[1].add(tgt)
            size += 1
            if size % _CHUNK == 0:
                yield _arrays(src_keys, tgt_keys, pairs, fate)
                src_keys, tgt_keys, pairs, fate = bytearray(), bytearray(), bytearray(), bytearray()
                if progress:
                    progress("reading", begun + size, None)
        if not size:
            raise DataError(f"{corpus.names()} holds no pairs: it should have one a line.")
        yield _arrays(src_keys, tgt_keys, pairs, fate)
        self.sizes.append(size)
        self.sides.append(sides)
        if progress:
            progress("reading", begun + size, None)

    def keep_copies(self) -> None:
        """Pairs with both sides the same stay."""
        self.fate[self.fate == COPY] = KEEP

    def find_duplicates(self, drop: bool) -> int:
        """How many pairs are the same as an earlier one but for whitespace; with `drop` only the first stays."""
        _, first = np.unique(self._pairs, return_index=True)
        again = self.fate == KEEP
        again[first] = False
        if drop:
            self.fate[again] = DUPLICATE
        return int(again.sum())

    def drop_sentences(self, src_keys: np.ndarray, tgt_keys: np.ndarray, why: int, across: bool = False) -> None:
        """Drop the pairs that share a source or a target with the given ones.

        With `across` (the same language may be a source here and a target there) also those that share a source with a target,
        and whatever is connected to the given ones by sentences in common, in groups of up to `LARGEST_GROUP` pairs.
        """
        rows = np.flatnonzero(self.fate == KEEP)
        own = self.src_keys[rows], self.tgt_keys[rows]
        if across:
            ends = np.concatenate([own[0], src_keys]), np.concatenate([own[1], tgt_keys])
            labels = connected_groups(*ends, across)
            labels, given = labels[: len(rows)], labels[len(rows) :]
            small = np.flatnonzero(np.bincount(labels, minlength=1) <= LARGEST_GROUP)
            self.fate[rows[np.isin(labels, np.intersect1d(given, small))]] = why
            src_keys = tgt_keys = np.concatenate([src_keys, tgt_keys])
        known = among(own[0], src_keys) | among(own[1], tgt_keys)
        self.fate[rows[known]] = why

    def forget_pairs(self) -> None:
        """Give back the memory that only `find_duplicates` needs."""
        self._pairs = np.zeros(0, dtype=np.uint64)


def among(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Bool [n]: which of `these` hashes are in `those`; memory is that of the answer and one index."""
    if not len(those):
        return np.zeros(len(these), dtype=bool)
    ordered = np.unique(those)
    place = np.searchsorted(ordered, these)
    place[place == len(ordered)] = 0
    return ordered[place] == these


def _arrays(*parts: bytearray) -> tuple[np.ndarray, ...]:
    return tuple(np.frombuffer(bytes(part), dtype="<u8" if i < 3 else np.uint8) for i, part in enumerate(parts))


def _join(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays)
