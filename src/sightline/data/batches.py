"""Batches that hold a budget of tokens, of sentences of like length, in an order that seed and epoch decide."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

POOL = 200_000
"""Pairs that are sorted by length together: enough for little padding, few enough for any corpus."""


@dataclass(frozen=True)
class Batch:
    """Padded token ids: `tgt_in` begins with bos, `tgt_out` ends with eos, `index` says which pairs these are."""

    src: Int[Tensor, "b s"]
    tgt_in: Int[Tensor, "b t"]
    tgt_out: Int[Tensor, "b t"]
    index: np.ndarray
    n_src: int
    """Source tokens that are not padding."""
    n_tgt: int
    """Target tokens that are not padding."""

    @property
    def padding(self) -> float:
        """Share of the tokens of both sides that is padding."""
        return 1.0 - (self.n_src + self.n_tgt) / (self.src.numel() + self.tgt_in.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        if self.src.device == device:
            return self
        src, tgt_in, tgt_out = (x.to(device, non_blocking=True) for x in (self.src, self.tgt_in, self.tgt_out))
        return Batch(src, tgt_in, tgt_out, self.index, self.n_src, self.n_tgt)


class BatchPlan:
    """Which pairs go together, for every epoch.

    Pairs are shuffled, sorted by length inside pools and cut so that sentences times the longest of them stays within
    `batch_tokens` on both sides; then the batches are shuffled. A pure function of (seed, epoch): nothing
    but the position needs to be remembered to go on from the middle.

    `weights[c]` is how many times an epoch sees each pair of corpus `c`; a fraction takes a fresh random part of them.
    """

    def __init__(
        self,
        src_lengths: np.ndarray,
        tgt_lengths: np.ndarray,
        batch_tokens: int,
        seed: int,
        corpus: np.ndarray | None = None,
        weights: Sequence[float] = (1.0,),
    ) -> None:
        self.src_lengths, self.tgt_lengths = src_lengths, tgt_lengths
        self.batch_tokens, self.seed = batch_tokens, seed
        self.corpus, self.weights = corpus, tuple(weights)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[np.ndarray]:
        """Arrays of pair numbers, from batch number `start` of this epoch on."""
        generator = np.random.default_rng((self.seed, epoch))
        order = self._order(generator)
        number = 0
        for first in range(0, len(order), POOL):
            batches = self._cut(order[first : first + POOL])
            for k in generator.permutation(len(batches)):
                if number >= start:
                    yield batches[k]
                number += 1

    def _order(self, generator: np.random.Generator) -> np.ndarray:
        n = len(self.src_lengths)
        if self.corpus is None or all(weight == 1.0 for weight in self.weights):
            order = np.arange(n, dtype=np.uint32)
        else:
            weight = np.asarray(self.weights)[np.asarray(self.corpus)]
            times = np.floor(weight + generator.random(n)).astype(np.int64)
            order = np.repeat(np.arange(n, dtype=np.uint32), times)
        generator.shuffle(order)
        return order

    def _cut(self, order: np.ndarray) -> list[np.ndarray]:
        src, tgt = self.src_lengths[order], self.tgt_lengths[order]
        # Like lengths on both sides: by target length, and inside a target length by source length, up and down in turn,
        # so that neighbours across the border are alike too.
        ranked = np.lexsort((np.where(tgt % 2 == 0, src, -src), tgt))
        order = order[ranked]
        longest = np.maximum(src, tgt)[ranked].tolist()
        cuts, top, size = [], 0, 0
        for i, length in enumerate(longest):
            top, size = max(top, length), size + 1
            if top * size > self.batch_tokens and size > 1:
                cuts.append(i)
                top, size = length, 1
        return np.split(order, cuts) if len(order) else []


def pad(rows: Sequence[np.ndarray | Sequence[int]], pad_id: int, first: int | None = None) -> Int[Tensor, "b t"]:
    """Rows of ids as one tensor, padded at the end; with `first`, that id is put before each row and its last id left out."""
    out = np.full((len(rows), max(len(row) for row in rows)), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        if first is None:
            out[i, : len(row)] = row
        else:
            out[i, 0] = first
            out[i, 1 : len(row)] = row[:-1]
    return torch.from_numpy(out)


def collate(
    pairs: Sequence[tuple[Sequence[int] | np.ndarray, Sequence[int] | np.ndarray]],
    index: np.ndarray,
    pad_id: int,
    bos_id: int,
) -> Batch:
    """A batch from (source ids, target ids), both ending with eos."""
    src, tgt = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    n_src, n_tgt = sum(map(len, src)), sum(map(len, tgt))
    return Batch(pad(src, pad_id), pad(tgt, pad_id, bos_id), pad(tgt, pad_id), index, n_src, n_tgt)


def generator_of(seed: int, epoch: int, pair: int) -> random.Random:
    """The generator for every random choice about one pair in one epoch: independent of the order of work."""
    return random.Random((seed * 1_000_003 + epoch) * 4_294_967_311 + pair)
