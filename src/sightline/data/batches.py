"""Batches that hold a budget of tokens, of sentences of like length, in an order that seed and epoch decide."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

POOL = 200_000
"""Pairs that are sorted by length together: enough for little padding, few enough for any corpus."""
WAITING = 64
"""Pairs that found no room in a packed batch, when it is full."""
SECTION = 6_000
"""Pairs in a row, about, that are sorted again where lengths are drawn anew each epoch: see `regroup`."""


Side = Sequence[int] | np.ndarray
"""Token ids of a sentence, ending with eos."""
Ids = tuple[Side, Side]
"""Those of a source and of its target."""


@dataclass(frozen=True)
class Batch:
    """Padded token ids: `tgt_in` begins with bos, `tgt_out` ends with eos, `index` says which pairs these are."""

    src: Int[Tensor, "b s"]
    tgt_in: Int[Tensor, "b t"]
    tgt_out: Int[Tensor, "b t"]
    real: Int[Tensor, " n"]
    """Which elements of `tgt_out`, row after row, are not padding."""
    index: np.ndarray
    n_src: int
    """Source tokens that are not padding."""
    n_tgt: int
    """Target tokens that are not padding."""
    segments: tuple[Int[Tensor, "b s"], Int[Tensor, "b t"]] | None = None
    """For packed rows, which sentence of the row each source and target token is of, from 1; 0 is padding."""

    @property
    def padding(self) -> float:
        """Share of the tokens of both sides that is padding."""
        return 1.0 - (self.n_src + self.n_tgt) / (self.src.numel() + self.tgt_in.numel())

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device; a GPU fetches it while the processor goes on."""
        if self.src.device == device:
            return self
        return self._with(lambda x: (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True))

    def split(self, count: int) -> list["Batch"]:
        """The same sentences in `count` batches of about as many rows each, or in as many as there are rows."""
        rows = np.array_split(np.arange(len(self.src)), min(count, len(self.src)))
        return [self._rows(slice(int(part[0]), int(part[-1]) + 1)) for part in rows]

    def _rows(self, rows: slice) -> "Batch":
        """Some of its rows. (`index` stays that of all: which pairs a packed row holds is not kept.)"""
        width, first = self.tgt_out.shape[1], rows.start * self.tgt_out.shape[1]
        real = self.real[(self.real >= first) & (self.real < rows.stop * width)] - first
        n_src = round(self.n_src * (rows.stop - rows.start) / len(self.src))
        segments = None if self.segments is None else (self.segments[0][rows], self.segments[1][rows])
        return Batch(
            self.src[rows], self.tgt_in[rows], self.tgt_out[rows], real, self.index, n_src, len(real), segments
        )

    def copy(self) -> "Batch":
        """A batch of the same content in tensors of its own."""
        return self._with(torch.clone)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The same batch with its tensors changed."""
        segments = None if self.segments is None else (change(self.segments[0]), change(self.segments[1]))
        tensors = {name: change(getattr(self, name)) for name in ("src", "tgt_in", "tgt_out", "real")}
        return replace(self, **tensors, segments=segments)

    def take(self, other: "Batch") -> None:
        """Take over the tokens of another packed batch of the same shape, in the same tensors; the rest stays as it is."""
        assert self.segments is not None and other.segments is not None
        for own, new in zip(
            (self.src, self.tgt_in, self.tgt_out, *self.segments),
            (other.src, other.tgt_in, other.tgt_out, *other.segments),
            strict=True,
        ):
            own.copy_(new)


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

    def order(self, epoch: int) -> np.ndarray:
        """The pairs of an epoch, shuffled, for packing."""
        return self._order(np.random.default_rng((self.seed, epoch)))

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
        ranked = _by_length(src, tgt)
        cuts = _cuts(np.maximum(src, tgt)[ranked].tolist(), self.batch_tokens)
        return np.split(order[ranked], cuts) if len(order) else []


def regroup(src_lengths: np.ndarray, tgt_lengths: np.ndarray, count: int) -> list[np.ndarray]:
    """Pair numbers in `count` batches of like lengths, shortest first, none empty, the largest (padded, on its longer side) as
    small as it can be. There must be at least `count` pairs.

    For pairs of `count` batches of a plan whose lengths turned out others than the plan knew. That there are as many batches
    again keeps the number of a batch meaningful without drawing the lengths of all before it.
    """
    ranked = _by_length(src_lengths, tgt_lengths)
    longest = np.maximum(src_lengths, tgt_lengths)[ranked].tolist()
    low, high = max(longest), max(longest) * len(longest)
    while low < high:
        middle = (low + high) // 2
        if len(_cuts(longest, middle)) < count:
            high = middle
        else:
            low = middle + 1
    batches = np.split(ranked, _cuts(longest, low))
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda k: len(batches[k]))
        batches[largest : largest + 1] = np.array_split(batches[largest], 2)
    return batches


def padded_size(src_lengths: np.ndarray, tgt_lengths: np.ndarray, batches: Sequence[np.ndarray]) -> float:
    """Tokens of a batch on its longer side, padding included: the mean over `batches`."""
    return float(np.mean([len(b) * max(src_lengths[b].max(), tgt_lengths[b].max()) for b in batches]))


def _by_length(src: np.ndarray, tgt: np.ndarray) -> np.ndarray:
    """By the longer side, which fills the budget, and inside a length by how much longer the source is, up and down in turn, so
    that neighbours across the border are alike too.
    """
    longer, apart = np.maximum(src, tgt), src.astype(np.int64) - tgt
    return np.lexsort((np.where(longer % 2 == 0, apart, -apart), longer))


def _cuts(longest: list[int], budget: int) -> list[int]:
    """Where to cut so that sentences times the longest of them stays within the budget."""
    cuts, top, size = [], 0, 0
    for i, length in enumerate(longest):
        top, size = max(top, length), size + 1
        if top * size > budget and size > 1:
            cuts.append(i)
            top, size = length, 1
    return cuts


def pad(rows: Sequence[np.ndarray | Sequence[int]], pad_id: int) -> Int[Tensor, "b t"]:
    """Rows of ids as one tensor, padded at the end."""
    return torch.from_numpy(_padded(rows, pad_id)[0])


def collate(
    pairs: Sequence[Ids],
    index: np.ndarray,
    pad_id: int,
    bos_id: int,
) -> Batch:
    """A batch from (source ids, target ids), both ending with eos."""
    src, src_real = _padded([pair[0] for pair in pairs], pad_id)
    tgt_out, tgt_real = _padded([pair[1] for pair in pairs], pad_id)
    tgt_in = np.empty_like(tgt_out)
    tgt_in[:, 0] = bos_id
    tgt_in[:, 1:] = np.where(tgt_real[:, 1:], tgt_out[:, :-1], pad_id)
    src, tgt_in, tgt_out, real = map(torch.from_numpy, (src, tgt_in, tgt_out, np.flatnonzero(tgt_real)))
    return Batch(src, tgt_in, tgt_out, real, index, int(src_real.sum()), len(real))


def _padded(rows: Sequence[np.ndarray | Sequence[int]], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows as one array, and which of its elements are real."""
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    out = np.full(real.shape, pad_id, dtype=np.int64)
    out[real] = np.concatenate(rows)
    return out, real


Packed = list[list[tuple[int, Ids]]]
"""Rows of numbered pairs."""


def pack(pairs: Iterable[tuple[int, Ids]], rows: int, width: int) -> Iterator[Packed]:
    """Batches of `rows` rows of `width` tokens on each side, into which pairs are packed one after another, a source and its
    target in the same row. No pair may be longer than `width`.

    A pair goes into the first row that has room for it; if none has, it waits for the next batch. A batch is full when
    `WAITING` pairs wait.
    """
    coming, waiting = iter(pairs), list[tuple[int, Ids]]()
    while True:
        found: Packed = [[] for _ in range(rows)]
        free = np.full((rows, 2), width)
        waiting = [pair for pair in waiting if not _place(pair, found, free)]
        for pair in coming:
            if not _place(pair, found, free):
                waiting.append(pair)
            if len(waiting) == WAITING:
                break
        if not any(found):
            return
        yield found


def _place(pair: tuple[int, Ids], rows: Packed, free: np.ndarray) -> bool:
    """Put a pair into the first row with room for it, if there is one."""
    src, tgt = pair[1]
    room = np.flatnonzero((free[:, 0] >= len(src)) & (free[:, 1] >= len(tgt)))
    if len(room) == 0:
        return False
    rows[room[0]].append(pair)
    free[room[0]] -= (len(src), len(tgt))
    return True


def collate_packed(rows: Packed, width: int, pad_id: int, bos_id: int) -> Batch:
    """A batch of one shape from packed rows."""
    arrays = [np.full((len(rows), width), fill, dtype=np.int64) for fill in (pad_id, pad_id, pad_id, 0, 0)]
    src, tgt_in, tgt_out, of_src, of_tgt = arrays
    for r, row in enumerate(rows):
        s = t = 0
        for number, (_, (source, target)) in enumerate(row, start=1):
            n, m = len(source), len(target)
            src[r, s : s + n], of_src[r, s : s + n] = source, number
            tgt_out[r, t : t + m], of_tgt[r, t : t + m] = target, number
            tgt_in[r, t], tgt_in[r, t + 1 : t + m] = bos_id, target[:-1]
            s, t = s + n, t + m
    real = np.flatnonzero(of_tgt)
    index = np.array([i for row in rows for i, _ in row])
    n_src = int((of_src > 0).sum())
    src, tgt_in, tgt_out, real, of_src, of_tgt = map(torch.from_numpy, (src, tgt_in, tgt_out, real, of_src, of_tgt))
    return Batch(src, tgt_in, tgt_out, real, index, n_src, len(real), (of_src, of_tgt))


def generator_of(seed: int, epoch: int, pair: int) -> random.Random:
    """The generator for every random choice about one pair in one epoch: independent of the order of work."""
    return random.Random((seed * 1_000_003 + epoch) * 4_294_967_311 + pair)
