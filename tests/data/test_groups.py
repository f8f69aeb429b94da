import numpy as np
import pytest

from sightline.data.groups import choose_groups, connected_groups


def groups_by_search(src, tgt) -> list[int]:
    """The first pair of each pair's group, found one by one."""
    labels = [-1] * len(src)
    for first in range(len(src)):
        stack = [first] if labels[first] < 0 else []
        while stack:
            i = stack.pop()
            if labels[i] < 0:
                labels[i] = first
                stack += [j for j in range(len(src)) if src[j] == src[i] or tgt[j] == tgt[i]]
    return labels


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_those_found_by_search(seed):
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 120))
    src, tgt = generator.integers(0, max(2, n), (2, n)).astype(np.uint64)
    assert connected_groups(src, tgt).tolist() == groups_by_search(src, tgt)


def test_sides_are_compared_with_each_other_where_corpora_go_both_ways():
    src, tgt = np.array([1, 2, 9], dtype=np.uint64), np.array([2, 5, 8], dtype=np.uint64)
    assert connected_groups(src, tgt).tolist() == [0, 1, 2]
    assert connected_groups(src, tgt, across=True).tolist() == [0, 0, 2]


def test_a_long_chain_is_one_group():
    n = 100_000
    shuffled = np.random.default_rng(0).permutation(n)
    src, tgt = (shuffled // 2).astype(np.uint64), ((shuffled + 1) // 2).astype(np.uint64)
    assert (connected_groups(src, tgt) == 0).all()


def test_nothing_has_no_groups():
    empty = np.zeros(0, dtype=np.uint64)
    assert len(connected_groups(empty, empty)) == 0
    assert len(choose_groups(np.zeros(0, dtype=np.int64), empty, 10, 1)) == 0


def random_pairs(n: int = 20_000):
    return np.random.default_rng(1).integers(0, n * 2, (2, n)).astype(np.uint64)


def test_chosen_groups_are_whole_and_about_as_many_as_asked():
    src, tgt = random_pairs()
    chosen = choose_groups(connected_groups(src, tgt), src, 1000, seed=1)
    assert 1000 <= len(np.unique(src[chosen])) <= 1020
    assert not set(src[chosen]) & set(src[~chosen])
    assert not set(tgt[chosen]) & set(tgt[~chosen])


def test_the_choice_depends_on_sentences_and_seed_not_on_their_order():
    src, tgt = random_pairs()
    order = np.random.default_rng(2).permutation(len(src))
    first = choose_groups(connected_groups(src, tgt), src, 1000, seed=1)
    shuffled = choose_groups(connected_groups(src[order], tgt[order]), src[order], 1000, seed=1)
    other = choose_groups(connected_groups(src, tgt), src, 1000, seed=2)
    assert (first[order] == shuffled).all()
    assert (first != other).any()


def test_a_large_group_is_never_chosen():
    src = np.arange(200, dtype=np.uint64)
    tgt = np.where(src < 100, 7, src + 1000).astype(np.uint64)
    chosen = choose_groups(connected_groups(src, tgt), src, 150, seed=1)
    assert chosen.tolist() == [False] * 100 + [True] * 100
