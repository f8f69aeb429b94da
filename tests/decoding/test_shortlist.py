"""Shortlists: what is learned from pairs of which the dictionary is known, and what a file may hold."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from sightline.decoding.shortlist import FILE, Lexicon, Shortlist, learn
from sightline.errors import BundleError

EOS, WORDS = 2, range(10, 40)
"""Word `w` is translated as `w + 30`; every sentence also holds 5, whatever it says."""


def pairs(count: int = 300) -> list[tuple[list[int], list[int]]]:
    chance = random.Random(1)
    sources = [chance.sample(WORDS, chance.randint(2, 6)) for _ in range(count)]
    return [(source, [5, *(word + 30 for word in reversed(source))]) for source in sources]


def test_the_most_probable_translation_of_a_word_is_the_one_it_always_comes_with() -> None:
    found = learn(pairs(), (40, 70), EOS, most=1, frequent=1)
    assert found.always.tolist() == [EOS, 5]
    for word in WORDS:
        assert found.of([word]).tolist() == [EOS, 5, word + 30]
    assert found.of([10, 12, 10]).tolist() == [EOS, 5, 40, 42]
    assert found.of([3]).tolist() == [EOS, 5]  # a token that was never seen


def test_more_translations_are_kept_down_to_a_probability() -> None:
    rare, more = (learn(pairs(), (40, 70), EOS, most=9, least=least, frequent=0) for least in (0.4, 1e-6))
    assert all(len(rare.of([word])) <= 3 for word in WORDS) and all(len(more.of([word])) == 10 for word in WORDS)
    assert all({*rare.of([word])} <= {*more.of([word])} for word in WORDS)


def test_each_target_language_has_its_own_lexicon() -> None:
    one, other = (learn([([10], [token])], (40, 70), EOS) for token in (40, 50))
    both = Shortlist({4: one, 5: other})
    assert both.of([4, 10, EOS]).tolist() == [EOS, 40]
    assert both.of([5, 10, EOS]).tolist() == [EOS, 50]
    with pytest.raises(ValueError, match="target language of tag 6"):
        both.of([6, 10, EOS])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_text("{}")
    return tmp_path


def test_it_survives_being_saved(folder: Path) -> None:
    learned = Shortlist({-1: learn(pairs(), (40, 70), EOS)})
    learned.save(folder)
    read = Shortlist.load(folder, (40, 70))
    for source, _ in pairs(20):
        assert read.of(source).tolist() == learned.of(source).tolist()


def test_one_that_is_missing_or_of_another_vocabulary_is_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="learn one with `sightline shortlist"):
        Shortlist.load(folder, (40, 70))
    Shortlist({-1: learn(pairs(), (40, 70), EOS)}).save(folder)
    (folder / "tokenizer.json").write_text(json.dumps({"other": 1}))
    with pytest.raises(BundleError, match="learned for another vocabulary"):
        Shortlist.load(folder, (40, 70))


@pytest.mark.parametrize(
    "lexicon",
    [
        ([0] * 40 + [9], [1], [EOS]),  # rows that end behind the tokens
        ([0] * 41, [], [70]),  # a token that is none
        ([0] * 41, [], []),  # not even the end
        ([0] * 40, [], [EOS]),  # a row too few
        ([0, 1, 0] + [1] * 38, [1], [EOS]),  # rows that run backwards
    ],
)
def test_one_that_would_read_outside_is_refused(folder: Path, lexicon: tuple[list[int], ...]) -> None:
    Shortlist({-1: Lexicon(*(np.array(part, np.int32) for part in lexicon))}).save(folder)
    with pytest.raises(BundleError, match="damaged"):
        Shortlist.load(folder, (40, 70))


@pytest.mark.parametrize("damage", [lambda whole: whole[:100], lambda _: b"not one"])
def test_a_damaged_file_is_named(folder: Path, damage) -> None:
    Shortlist({-1: learn(pairs(), (40, 70), EOS)}).save(folder)
    (folder / FILE).write_bytes(damage((folder / FILE).read_bytes()))
    with pytest.raises(BundleError, match=r"shortlist.safetensors is damaged"):
        Shortlist.load(folder, (40, 70))
