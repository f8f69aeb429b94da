"""Alignments: Pharaoh's format, two directions made one, the error rate."""

import itertools
import random

import pytest

from sightline.errors import DataError
from sightline.metrics.alignment import Gold, Links, alignment_error_rate, pharaoh, read_pharaoh, symmetrise


def links(text: str) -> Links:
    return read_pharaoh(text).sure


def test_the_error_rate_is_the_published_formula() -> None:
    gold = [read_pharaoh("0-0 1-1 2p1"), read_pharaoh("0-1 1p0")]
    found = [links("0-0 2-1 2-2"), links("0-1")]  # 2 sure of 3, 3 possible of 4
    scores = alignment_error_rate(found, gold)
    assert scores.error_rate == pytest.approx(100 * (1 - (2 + 3) / (4 + 3)))
    assert scores.precision == pytest.approx(100 * 3 / 4) and scores.recall == pytest.approx(100 * 2 / 3)
    assert alignment_error_rate([each.sure for each in gold], gold).error_rate == 0
    assert alignment_error_rate([frozenset(), frozenset()], gold).error_rate == 100
    with pytest.raises(ValueError, match="longer"):
        alignment_error_rate(found[:1], gold)


def test_pharaohs_format_is_read_and_written() -> None:
    assert read_pharaoh("1-1 2p3 2?4", first=1) == Gold(frozenset({(0, 0)}), frozenset({(0, 0), (1, 2), (1, 3)}))
    assert pharaoh(frozenset({(10, 1), (2, 0), (2, 11)})) == "2-0 2-11 10-1"
    assert links(pharaoh(frozenset({(3, 1), (0, 2)}))) == {(3, 1), (0, 2)} and read_pharaoh("").possible == frozenset()
    for text in ("1-", "a-b", "1:2"):
        with pytest.raises(DataError, match="is no link"):
            read_pharaoh(text)
    with pytest.raises(DataError, match=r"word 1 of the source .* there are 1 and 5 words"):
        read_pharaoh("0-0 1p4").check(1, 5)
    read_pharaoh("0-0 1p4").check(2, 5)
    with pytest.raises(DataError, match="'0-1' links a word before the first"):
        read_pharaoh("0-1", first=1)


def test_two_directions_are_joined() -> None:
    forth, back = links("0-0 1-1 2-1 3-3"), links("0-0 1-1 1-2 4-4")
    assert symmetrise(forth, back, "intersection") == links("0-0 1-1")
    assert symmetrise(forth, back, "union") == forth | back
    assert symmetrise(forth, back) == links("0-0 1-1 2-1 1-2")  # 3-3 and 4-4 touch nothing that both have
    assert symmetrise(links("0-0 1-1 2-2"), links("0-0")) == links("0-0 1-1 2-2")  # a corner at a time


@pytest.mark.parametrize("seed", range(5))
def test_growing_stays_between_intersection_and_union(seed: int) -> None:
    numbers = random.Random(seed)
    places = list(itertools.product(range(6), range(6)))
    forth, back = (frozenset(numbers.sample(places, 9)) for _ in range(2))
    grown = symmetrise(forth, back)
    assert forth & back <= grown <= forth | back and symmetrise(back, forth) == grown
