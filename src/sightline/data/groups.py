"""Sentences that share a translation belong together: connected groups, and the choice of whole groups to set aside."""

import numpy as np

_LARGEST_SHARE = 0.01
_ALWAYS_ALLOWED = 20


def connected_groups(src_hashes: np.ndarray, tgt_hashes: np.ndarray, across: bool = False) -> np.ndarray:
    """The connected components of pairs that share a sentence on either side.

    Args:
        src_hashes: uint64 [n], one number for each distinct source sentence.
        tgt_hashes: uint64 [n], the same for targets.
        across: whether a source of one pair may be the target of another; else the two sides are not compared.

    Returns:
        int64 [n]: for each pair the index of the first pair of its group.

    Labels spread over shared sentences and jump over known ones (Shiloach and Vishkin 1982), so long chains need few
    rounds. Ten million pairs take well below 1 GB.
    """
    labels = np.arange(len(src_hashes), dtype=np.int64)
    if across:
        rows, starts = _repeated(np.concatenate([src_hashes, tgt_hashes]))
        sides = [(rows % len(labels), starts)]
    else:
        sides = [_repeated(src_hashes), _repeated(tgt_hashes)]
    changed = True
    while changed:
        changed = False
        for rows, starts in sides:
            if not len(rows):
                continue
            old = labels[rows]
            new = np.repeat(np.minimum.reduceat(old, starts), np.diff(starts, append=len(rows)))
            moved = new < old
            if moved.any():
                changed = True
                np.minimum.at(labels, rows, new)
                np.minimum.at(labels, old[moved], new[moved])
        if changed:
            while (labels[labels] != labels).any():
                labels = labels[labels]
    return labels


def _repeated(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose sentence occurs again, sorted by sentence, and where in that order each sentence begins."""
    rows = np.argsort(hashes, kind="stable")
    ordered = hashes[rows]
    same = ordered[1:] == ordered[:-1]
    again = np.zeros(len(rows), dtype=bool)
    again[1:] |= same
    again[:-1] |= same
    rows, ordered = rows[again], ordered[again]
    starts = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(rows) else np.zeros(0, np.int64)
    )
    return rows, starts


def choose_groups(labels: np.ndarray, hashes: np.ndarray, n_sources: int, seed: int) -> np.ndarray:
    """Whole groups, drawn at random, that hold about `n_sources` distinct sources.

    Args:
        labels: int64 [n], the group of each pair, from `connected_groups`.
        hashes: uint64 [n], the source sentence of each pair.
        n_sources: how many distinct sources are wanted; the last group may bring a few more.
        seed: another seed draws other groups.

    Returns:
        bool [n]: the pairs of the chosen groups.

    The draw depends on the sentences and the seed only, not on the order of the pairs. Groups with more sources than
    1 % of `n_sources` (but at least 20) are never chosen: one of them would be most of the set.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    if n_sources <= 0 or not len(labels):
        return chosen
    _, firsts = np.unique(hashes, return_index=True)
    sizes = np.bincount(labels[firsts], minlength=len(labels))  # a source is in one group only
    smallest = np.full(len(labels), np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, labels, hashes)
    candidates = np.flatnonzero((sizes > 0) & (sizes <= max(_ALWAYS_ALLOWED, int(_LARGEST_SHARE * n_sources))))
    draw = _mix(smallest[candidates] ^ _mix(np.array([seed], dtype=np.uint64)))
    candidates = candidates[np.argsort(draw, kind="stable")]
    before = np.cumsum(sizes[candidates]) - sizes[candidates]
    chosen[candidates[before < n_sources]] = True
    return chosen[labels]


def _mix(numbers: np.ndarray) -> np.ndarray:
    """A random-looking permutation of the 64-bit numbers (splitmix64, Steele, Lea and Flood 2014)."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
