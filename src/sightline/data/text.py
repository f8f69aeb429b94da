"""Tokenised sentence pairs on disk: written as a stream, read through memory maps, so any corpus fits."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sightline.errors import DataError
from sightline.files import explain_os_errors

_SIDES = ("src", "tgt")


class PairWriter:
    """Appends tokenised pairs to `folder`/`name`.*: ids end to end, where each sentence ends, its corpus, perhaps its text.

    Text is kept only when segmentation is sampled anew in training (BPE-dropout). Ids take two bytes where the
    vocabulary allows.
    """

    def __init__(self, folder: Path, name: str, keep_text: bool, vocab_size: int = 1 << 32) -> None:
        self.folder, self.name, self.keep_text = Path(folder), name, keep_text
        self.dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        self.count = 0
        self._ends: dict[str, int] = dict.fromkeys((*_SIDES, "text"), 0)
        self._files: dict[str, BinaryIO] = {}

    def _append(self, part: str, array: np.ndarray | bytes) -> None:
        if part not in self._files:
            self._files[part] = open(self.folder / f"{self.name}.{part}", "wb")  # noqa: SIM115 (closed in close)
        self._files[part].write(array if isinstance(array, bytes) else array.tobytes())

    def _append_ends(self, part: str, lengths: list[int]) -> None:
        ends = np.cumsum(lengths, dtype="<i8") + self._ends[part]
        self._ends[part] = int(ends[-1])
        self._append(f"{part}.ends", ends)

    def add(
        self,
        src_ids: Sequence[Sequence[int]],
        tgt_ids: Sequence[Sequence[int]],
        src_texts: Sequence[str] = (),
        tgt_texts: Sequence[str] = (),
        to: str = "",
        corpus: int = 0,
    ) -> None:
        """Append one chunk of pairs. Ids end with eos; `to` is the language asked of the target, "" if there is no tag.

        Raises UserError if the disk is full or cannot be written.
        """
        if not src_ids:
            return
        with explain_os_errors(self.folder, doing="write the prepared corpus"):
            for side, ids in zip(_SIDES, (src_ids, tgt_ids), strict=True):
                self._append(side, np.concatenate([np.asarray(row, dtype=self.dtype) for row in ids]))
                self._append_ends(side, [len(row) for row in ids])
            self._append("corpus", np.full(len(src_ids), corpus, dtype=np.uint8))
            if self.keep_text:
                rows = [
                    json.dumps([src, tgt, to], ensure_ascii=False).encode()
                    for src, tgt in zip(src_texts, tgt_texts, strict=True)
                ]
                self._append("text", b"".join(rows))
                self._append_ends("text", [len(row) for row in rows])
        self.count += len(src_ids)

    def close(self) -> None:
        """Write what is still held, and the description that `Pairs.open` reads."""
        with explain_os_errors(self.folder, doing="write the prepared corpus"):
            for file in self._files.values():
                file.close()
            meta = {"count": self.count, "dtype": self.dtype.str, "text": self.keep_text}
            (self.folder / f"{self.name}.json").write_text(json.dumps(meta), encoding="utf-8")


class Pairs:
    """Tokenised pairs, memory-mapped. `src_lengths` and `tgt_lengths` count tokens, eos included; `corpus` names the
    corpus of each pair by its number.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder = Path(folder)
        try:
            meta = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            self._count, dtype, text = int(meta["count"]), np.dtype(meta["dtype"]), bool(meta["text"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{folder} does not hold a prepared corpus '{name}' ({error}). Delete the folder and run again."
            ) from error
        self._folder, self._name = folder, name
        self._ids = {side: self._map(side, dtype) for side in _SIDES}
        self._ends = {side: self._map(f"{side}.ends", np.dtype("<i8")) for side in _SIDES}
        self.src_lengths, self.tgt_lengths = (np.diff(self._ends[side], prepend=0).astype(np.int32) for side in _SIDES)
        self.corpus = self._map("corpus", np.dtype(np.uint8))
        self._text = self._map("text", np.dtype(np.uint8)) if text else None
        self._text_ends = self._map("text.ends", np.dtype("<i8")) if text else None
        parts = [(self._ids[side], self._ends[side]) for side in _SIDES]
        if self._text is not None and self._text_ends is not None:
            parts.append((self._text, self._text_ends))
        whole = all(len(ends) == self._count and len(held) == (ends[-1] if len(ends) else 0) for held, ends in parts)
        if not whole or len(self.corpus) != self._count:
            raise DataError(f"The prepared corpus in {folder} is damaged. Delete the folder and run again.")

    @classmethod
    def open(cls, folder: str | Path, name: str) -> "Pairs":
        """Open what a `PairWriter` wrote. Raises DataError if it is missing or damaged."""
        return cls(Path(folder), name)

    def _map(self, part: str, dtype: np.dtype) -> np.ndarray:
        path = self._folder / f"{self._name}.{part}"
        if self._count == 0:
            return np.empty(0, dtype)
        try:
            return np.memmap(path, dtype, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} is missing or damaged ({error}). Delete the folder and run again; the corpus is then prepared anew."
            ) from error

    def __len__(self) -> int:
        return self._count

    def ids(self, side: str, i: int) -> np.ndarray:
        """Token ids of pair `i` on `side` ("src" or "tgt"), eos at the end."""
        ends = self._ends[side]
        return self._ids[side][int(ends[i - 1]) if i else 0 : int(ends[i])]

    def pair(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target ids of pair `i`."""
        return self.ids("src", i), self.ids("tgt", i)

    def text(self, i: int) -> tuple[str, str, str]:
        """Source text, target text and target language of pair `i`. Raises DataError if no text was kept."""
        if self._text is None or self._text_ends is None:
            raise DataError("The corpus was prepared without its text, which sampling needs. Prepare it again.")
        start = int(self._text_ends[i - 1]) if i else 0
        src, tgt, to = json.loads(self._text[start : int(self._text_ends[i])].tobytes())
        return src, tgt, to
