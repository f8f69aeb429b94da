from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.data.batches import BatchPlan, Ids, collate, collate_packed, generator_of, pack, pad, regroup
from sightline.data.text import Pairs, PairWriter
from sightline.errors import DataError


def lengths(n: int = 5000, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    src = generator.integers(2, 40, n).astype(np.int32)
    return src, np.maximum(2, src + generator.integers(-3, 4, n)).astype(np.int32)


def test_an_epoch_has_every_pair_once_within_the_budget() -> None:
    src, tgt = lengths()
    batches = list(BatchPlan(src, tgt, 512, seed=1).epoch(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    assert max(max(src[b].max(), tgt[b].max()) * len(b) for b in batches) <= 512


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    plan = BatchPlan(*lengths(), 512, seed=1)
    first, again, later = (np.concatenate(list(plan.epoch(e))) for e in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    other = np.concatenate(list(BatchPlan(*lengths(), 512, seed=2).epoch(3)))
    assert not np.array_equal(first, other)


def test_an_epoch_can_be_entered_anywhere() -> None:
    plan = BatchPlan(*lengths(), 512, seed=1)
    whole, rest = list(plan.epoch(2)), list(plan.epoch(2, start=17))
    assert all(np.array_equal(a, b) for a, b in zip(whole[17:], rest, strict=True))


def test_batches_of_like_lengths_have_little_padding() -> None:
    src, tgt = lengths(29_000)
    batches = list(BatchPlan(src, tgt, 4096, seed=1).epoch(0))
    used = sum(len(b) * (src[b].max() + tgt[b].max()) for b in batches)
    assert 1 - (src.sum() + tgt.sum()) / used < 0.08


def test_a_pair_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    plan = BatchPlan(np.array([5, 900], dtype=np.int32), np.array([5, 3], dtype=np.int32), 100, seed=1)
    assert sorted(len(b) for b in plan.epoch(0)) == [1, 1]


@pytest.mark.parametrize("count", [1, 7, 64, 2000])
def test_regrouped_pairs_are_as_many_batches_again_with_little_padding(count: int) -> None:
    src, tgt = lengths(2000)
    batches = regroup(src, tgt, count)
    assert len(batches) == count and sorted(np.concatenate(batches).tolist()) == list(range(2000))
    padded = [len(b) * max(src[b].max(), tgt[b].max()) for b in batches]
    if count == 64:
        assert max(padded) < 1.15 * np.mean(padded)
        assert sum(len(b) * (src[b].max() + tgt[b].max()) for b in batches) < 1.16 * (src.sum() + tgt.sum())


def test_pairs_of_one_length_are_regrouped_into_as_many_batches_as_asked() -> None:
    same = np.full(10, 5)
    assert sorted(len(b) for b in regroup(same, same, 4)) == [1, 3, 3, 3]


def test_weights_say_how_often_an_epoch_sees_a_corpus() -> None:
    corpus = np.repeat([0, 1, 2], 1000).astype(np.uint8)
    src = np.full(3000, 5, dtype=np.int32)
    plan = BatchPlan(src, src, 500, seed=1, corpus=corpus, weights=(1.0, 2.0, 0.25))
    seen = Counter(np.concatenate(list(plan.epoch(0))).tolist())
    by_corpus = [sum(seen[i] for i in range(c * 1000, (c + 1) * 1000)) for c in range(3)]
    assert by_corpus[:2] == [1000, 2000] and 180 < by_corpus[2] < 320


def test_targets_are_shifted_by_one_and_padded_at_the_end() -> None:
    batch = collate([([7, 2], [8, 9, 2]), ([5, 6, 2], [4, 2])], np.array([3, 1]), pad_id=0, bos_id=1)
    assert batch.src.tolist() == [[7, 2, 0], [5, 6, 2]]
    assert batch.tgt_in.tolist() == [[1, 8, 9], [1, 4, 0]]
    assert batch.tgt_out.tolist() == [[8, 9, 2], [4, 2, 0]]
    assert (batch.n_src, batch.n_tgt) == (5, 5) and batch.padding == pytest.approx(2 / 12)
    assert pad([[1], [2, 3]], 0).dtype == torch.int64


def test_random_choices_about_a_pair_depend_on_seed_epoch_and_pair_alone() -> None:
    draws = {generator_of(*at).random() for at in ((1, 0, 0), (1, 0, 1), (1, 1, 0), (2, 0, 0))}
    assert len(draws) == 4
    assert generator_of(1, 2, 3).random() == generator_of(1, 2, 3).random()


@pytest.mark.parametrize("keep_text", [True, False])
@pytest.mark.parametrize("vocab_size", [100, 100_000])
def test_pairs_come_back_as_they_were_written(keep_text: bool, vocab_size: int, tmp_path: Path) -> None:
    writer = PairWriter(tmp_path, "train", keep_text, vocab_size)
    rows = [([4, vocab_size - 1, 2], [2]), ([2], [5, 6, 7, 2]), ([9, 2], [8, 2])]
    texts = [("a b", "你好"), ("", "c\td"), ('"', "\\")]
    src, tgt = [row[0] for row in rows], [row[1] for row in rows]
    src_texts, tgt_texts = [text[0] for text in texts], [text[1] for text in texts]
    writer.add(src[:2], tgt[:2], src_texts[:2], tgt_texts[:2], to="zh")
    writer.add([], [])
    writer.add(src[2:], tgt[2:], src_texts[2:], tgt_texts[2:], corpus=1)
    writer.close()
    pairs = Pairs.open(tmp_path, "train")
    assert [tuple(side.tolist() for side in pairs.pair(i)) for i in range(len(pairs))] == rows
    assert pairs.src_lengths.tolist() == [3, 1, 2] and pairs.tgt_lengths.tolist() == [1, 4, 2]
    assert pairs.corpus.tolist() == [0, 0, 1]
    if keep_text:
        assert [pairs.text(i) for i in range(3)] == [(*texts[0], "zh"), (*texts[1], "zh"), (*texts[2], "")]
    else:
        with pytest.raises(DataError, match="without its text"):
            pairs.text(0)


def test_a_damaged_corpus_says_so(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path, "train", False, 100)
    writer.add([[4, 2]], [[5, 2]])
    writer.close()
    (tmp_path / "train.tgt.ends").unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        Pairs.open(tmp_path, "train")


def sentences(n: int = 400) -> list[tuple[int, Ids]]:
    src, tgt = lengths(n)
    return [(i, ([*range(3, 2 + src[i]), 2], [*range(4, 3 + tgt[i]), 2])) for i in range(n)]


def test_packed_rows_hold_every_pair_once_whole_and_on_both_sides_of_a_row() -> None:
    pairs = sentences()
    batches = [collate_packed(packed, 64, 0, 1) for packed in pack(pairs, rows=16, width=64)]
    assert {batch.src.shape for batch in batches} | {batch.tgt_in.shape for batch in batches} == {(16, 64)}
    assert sorted(np.concatenate([batch.index for batch in batches]).tolist()) == list(range(400))
    found = []
    for batch in batches:
        assert batch.segments is not None
        of_src, of_tgt = batch.segments
        for row in range(16):
            for number in range(1, int(of_src[row].max()) + 1):
                src, tgt = batch.src[row][of_src[row] == number], batch.tgt_out[row][of_tgt[row] == number]
                assert batch.tgt_in[row][of_tgt[row] == number].tolist() == [1, *tgt[:-1].tolist()]
                found.append((src.tolist(), tgt.tolist()))
        assert not batch.src[of_src == 0].any() and not batch.tgt_in[of_tgt == 0].any()
        assert batch.tgt_out.flatten()[batch.real].ne(0).all() and batch.n_tgt == len(batch.real) == int(
            (of_tgt > 0).sum()
        )
    wanted = [(list(src), list(tgt)) for _, (src, tgt) in pairs]
    assert sorted(found) == sorted(wanted)


def test_little_of_packed_rows_is_padding() -> None:
    batches = [collate_packed(packed, 128, 0, 1) for packed in pack(sentences(2000), rows=64, width=128)]
    assert len(batches) > 2 and all(batch.padding < 0.1 for batch in batches[:-1])


@pytest.mark.parametrize("packed", [False, True])
def test_the_pieces_of_a_batch_hold_all_of_it(packed: bool) -> None:
    pairs = sentences(60)
    if packed:
        batch = collate_packed(next(iter(pack(pairs, rows=9, width=64))), 64, 0, 1)
    else:
        batch = collate([pair for _, pair in pairs], np.arange(60), 0, 1)
    pieces = batch.split(4)
    assert len(pieces) == 4 and max(len(p.src) for p in pieces) - min(len(p.src) for p in pieces) <= 1
    for name in ("src", "tgt_in", "tgt_out"):
        assert torch.equal(torch.cat([getattr(piece, name) for piece in pieces]), getattr(batch, name))
    assert sum(piece.n_tgt for piece in pieces) == batch.n_tgt
    assert all(torch.equal(piece.real, piece.tgt_out.flatten().nonzero()[:, 0]) for piece in pieces)
    assert len(batch.split(1000)) == len(batch.src)
