"""Lengths of tokenised pairs, added up as they pass."""

import numpy as np

from sightline.data.report import Lengths


class Measures:
    """How long the two sides are, and how their lengths go together."""

    def __init__(self) -> None:
        self._histograms = [np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64)]
        self._sums = np.zeros(6)
        self.unknown = 0

    def add(self, src: list[list[int]], tgt: list[list[int]], unk_id: int) -> None:
        """Count the pairs of a chunk, given as ids."""
        self.unknown += sum(ids.count(unk_id) for side in (src, tgt) for ids in side)
        counts = np.array([[len(ids) for ids in side] for side in (src, tgt)])
        for k, old in enumerate(self._histograms):
            added = np.bincount(counts[k], minlength=len(old))
            added[: len(old)] += old
            self._histograms[k] = added
        x, y = counts.astype(np.float64)
        self._sums += [len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Of source and target."""
        return Lengths.of(self._histograms[0]), Lengths.of(self._histograms[1])

    @property
    def ratio(self) -> float:
        """Target tokens for each source token."""
        return float(self._sums[2] / max(1.0, self._sums[1]))

    @property
    def correlation(self) -> float:
        """Of the two lengths of a pair (Pearson); 1 if all lengths are the same."""
        n, x, y, xx, yy, xy = self._sums
        spread = np.sqrt(max(0.0, n * xx - x * x) * max(0.0, n * yy - y * y))
        return float((n * xy - x * y) / spread) if spread > 0 else 1.0
