"""Which word translates which: alignments in Pharaoh's format, two directions made one, and the alignment error rate."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sightline.errors import DataError

Links = frozenset[tuple[int, int]]
"""Pairs of (source word, target word), counted from 0."""
Symmetry = Literal["intersection", "union", "grow-diag"]
_NEIGHBOURS = ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


@dataclass(frozen=True)
class Gold:
    """What people say of a sentence pair."""

    sure: Links
    possible: Links
    """The sure ones among them."""

    def check(self, n_src: int, n_tgt: int) -> None:
        """Raises DataError for a link to a word that a pair of so many words does not have."""
        for src, tgt in sorted(self.possible):
            if src >= n_src or tgt >= n_tgt:
                raise DataError(
                    f"word {src} of the source is linked with word {tgt} of the target, counted from 0, but there are {n_src} "
                    f"and {n_tgt} words. If the file counts from 1, give --first 1."
                )


@dataclass(frozen=True)
class AlignmentScores:
    """Alignments of a whole set beside the gold ones."""

    error_rate: float
    """Alignment error rate in per cent: 1 - (|A and S| + |A and P|) / (|A| + |S|) (Och and Ney 2003, section 6.1)."""
    precision: float
    """Of the links found, how many are possible, in per cent."""
    recall: float
    """Of the sure links, how many are found, in per cent."""
    n: int
    """Sentence pairs."""


def alignment_error_rate(found: Sequence[Links], gold: Sequence[Gold]) -> AlignmentScores:
    """Score alignments of a set; sums run over all its pairs. Raises ValueError if there are not as many of both."""
    pairs = list(zip(found, gold, strict=True))
    in_sure = sum(len(links & each.sure) for links, each in pairs)
    in_possible = sum(len(links & each.possible) for links, each in pairs)
    n_found, n_sure = sum(map(len, found)), sum(len(each.sure) for each in gold)
    return AlignmentScores(
        error_rate=100 * (1 - (in_sure + in_possible) / max(1, n_found + n_sure)),
        precision=100 * in_possible / max(1, n_found),
        recall=100 * in_sure / max(1, n_sure),
        n=len(found),
    )


def pharaoh(links: Links) -> str:
    """As "0-0 1-2", source word first, in order."""
    return " ".join(f"{i}-{j}" for i, j in sorted(links))


def read_pharaoh(line: str, first: int = 0) -> Gold:
    """The inverse; "1p2" or "1?2" is a link that is possible only. Words are counted from `first` in the text.

    Raises DataError naming what is no link.
    """
    sure, possible = set[tuple[int, int]](), set[tuple[int, int]]()
    for text in line.split():
        match = re.fullmatch(r"(\d+)([-p?])(\d+)", text)
        if match is None:
            raise DataError(f"{text!r} is no link of an alignment: write 3-4, or 3p4 for one that is possible only.")
        if min(int(match[1]), int(match[3])) < first:
            raise DataError(f"{text!r} links a word before the first, which is to be word {first}.")
        link = int(match[1]) - first, int(match[3]) - first
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return Gold(frozenset(sure), frozenset(possible))


def symmetrise(forth: Links, back: Links, how: Symmetry = "grow-diag") -> Links:
    """One alignment from those of the two directions, both as (source, target).

    "grow-diag" begins with the links that both have, and takes from the others those that touch one it has, along a side or a
    corner, and give a word its first link, until there are no more (Koehn, Och and Marcu 2003, section 4.5).
    """
    if how == "union":
        return forth | back
    links = set(forth & back)
    if how == "intersection":
        return frozenset(links)
    rest = forth | back
    grown = True
    while grown:
        grown = False
        for i, j in sorted(links):
            for di, dj in _NEIGHBOURS:
                new = i + di, j + dj
                free = all(new[0] != a for a, _ in links) or all(new[1] != b for _, b in links)
                if new in rest and new not in links and free:
                    links.add(new)
                    grown = True
    return frozenset(links)
