"""Remembering the first word."""

import itertools

import pytest
import torch

from sightline.lab.parts import LineChart, Table
from sightline.lab.probes.fresh import FIRST_WORD, Untrained, fresh, one_way
from sightline.lab.probes.recall import (
    WORDS,
    Practice,
    measure_recall,
    practise,
    recall_section,
    remembered,
    sentences,
    wilson,
)

VOCAB = FIRST_WORD + WORDS


def test_what_is_asked_is_the_first_words_of_what_is_read() -> None:
    src, tgt = sentences(4, 9, 2, torch.Generator().manual_seed(1))
    assert src.shape == (4, 9) and torch.equal(tgt, src[:, :2])


def test_the_interval_is_wilsons() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(1.0, 256) == pytest.approx((0.9852, 1.0), abs=1e-4)
    low, high = wilson(0.0, 10)
    assert low == pytest.approx(0.0) and high == pytest.approx(0.2775, abs=1e-4)
    with pytest.raises(ValueError, match="no trials"):
        wilson(0.5, 0)


def test_a_system_without_practice_guesses(systems: list[Untrained]) -> None:
    for _, config in systems:
        share = remembered(fresh(config, VOCAB, 9, 1), 8, tried=128)
        assert 0.0 <= share <= 0.25


def test_every_system_learns_a_trivially_short_distance_within_seconds(systems: list[Untrained]) -> None:
    small = {"d_model": 24, "n_encoder_layers": 1, "n_decoder_layers": 1}
    for name, config in systems:
        model = fresh(config.model_copy(update=small), VOCAB, 2, 1)
        found = measure_recall(model, (1,), Practice(steps=40, lr=2e-2), tried=64)
        assert found.steps == 40 and found.accuracy[0] > 0.95, (name, found)
        assert all(low <= share <= high for share, (low, high) in zip(found.accuracy, found.intervals, strict=True))


def test_the_same_seed_learns_the_same(systems: list[Untrained]) -> None:
    for _, config in systems[:1] + systems[-1:]:
        found = [measure_recall(fresh(config, VOCAB, 5, 3), (2, 4), Practice(steps=8, rows=4), tried=16) for _ in "ab"]
        assert found[0].accuracy == found[1].accuracy
    one, other = (fresh(systems[0][1], VOCAB, 5, 3) for _ in range(2))
    for model, seed in ((one, 1), (other, 2)):
        practise(model, (2, 4), Practice(steps=3, rows=4), seed=seed)
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_practice_ends_with_its_seconds(systems: list[Untrained]) -> None:
    steps, seconds = practise(fresh(systems[0][1], VOCAB, 5, 3), (2,), Practice(steps=10**9, seconds=0.2, rows=2))
    assert 0.2 <= seconds < 2.0 and steps > 1


def test_more_cannot_be_asked_than_is_read(systems: list[Untrained]) -> None:
    with pytest.raises(ValueError, match="3 words cannot be asked of 2"):
        measure_recall(fresh(systems[0][1], VOCAB, 5, 3), (2, 4), Practice(steps=1), asked=3)


def test_the_section_shows_every_system_and_chance(systems: list[Untrained]) -> None:
    section = recall_section(systems, (2, 4), Practice(steps=2, rows=2), tried=8)
    chart = section.parts[0]
    assert isinstance(chart, LineChart)
    assert [line.name.en for line in chart.lines] == [*(name.en for name, _ in systems), "By chance"]
    for line in chart.lines[:-1]:
        assert line.low is not None and line.high is not None
        for low, y, high in zip(line.low, line.y, line.high, strict=True):
            assert 0 <= low <= y <= high <= 1
    assert len(section.parts) == 2
    more = recall_section(systems[:2], (2, 4), Practice(steps=1, rows=2), tried=8, alone=Practice(steps=2, rows=2))
    table = more.parts[-1]
    assert isinstance(table, Table) and [row[1] for row in table.rows] == ["2", "2"] and "distance 4" in table.title.en


@pytest.mark.slow
def test_with_attention_a_far_word_is_remembered_after_practice_that_is_too_short_for_an_elman_network(
    systems: list[Untrained],
) -> None:
    wide = {name.en: one_way(config.model_copy(update={"d_model": 40})) for name, config in systems}
    distances, practice = (2, 4, 8, 16, 32, 64), Practice(steps=300, lr=3e-3)
    far = {
        name: measure_recall(fresh(wide[name], VOCAB, 65, 1), distances, practice, tried=128).accuracy[-1]
        for name in ("Elman RNN", "GRU + additive attention", "Transformer")
    }
    assert far["Elman RNN"] < 0.7
    for a, b in itertools.product(("GRU + additive attention", "Transformer"), ("Elman RNN",)):
        assert far[a] > 0.95 and far[a] > far[b]
