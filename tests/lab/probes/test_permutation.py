"""The same words in another order."""

import pytest
import torch

from sightline.errors import ConfigError
from sightline.lab.parts import Table
from sightline.lab.probes.fresh import Trained, Untrained, fresh
from sightline.lab.probes.permutation import (
    ROUNDING,
    at_first,
    has_positions,
    of_trained,
    order_of,
    permutation_section,
    permute,
    without_positions,
)
from sightline.models.config import ModelConfig, RecurrentConfig, TransformerConfig
from sightline.nn.names import POSITIONS

SMALL = TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=2, n_decoder_layers=2)
WORDS = ["Tom", "hit", "Jerry", "again"]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("attention", ["dot", "cosine", "general", "additive"])
def test_attention_without_positions_gives_each_word_the_same_vector_wherever_it_stands(
    position: str, attention: str
) -> None:
    config = SMALL.model_copy(update={"position": position, "attention": attention})
    model = without_positions(fresh(config, 50, 10, 1))
    generator = torch.Generator().manual_seed(3)
    src = torch.randint(4, 50, (7,), generator=generator)
    found = permute(model, src, torch.randperm(7, generator=generator).tolist())
    assert found.apart < ROUNDING and found.variation < ROUNDING and found.blind
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    assert found.tokens[0] == found.tokens[1]


@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rotary"])
def test_with_positions_the_order_is_known(position: str) -> None:
    [(told, found), (blind, other)] = at_first(SMALL.model_copy(update={"position": position}), WORDS, [2, 1, 0, 3])
    assert told and not found.blind and found.apart > 1e-2
    assert not blind and other.blind


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_recurrence_knows_the_order_without_being_told(cell: str) -> None:
    [(told, found)] = at_first(RecurrentConfig(cell=cell, d_model=16), WORDS, [2, 1, 0, 3])
    assert not told and not found.blind


def test_nothing_changes_if_the_order_does_not(systems: list[Untrained]) -> None:
    for _, config in systems:
        for _, found in at_first(config, WORDS, range(4)):
            assert found.apart == 0.0 and found.variation == 0.0 and found.tokens[0] == found.tokens[1]


def test_what_is_no_order_is_refused() -> None:
    with pytest.raises(ValueError, match="no order of 3 tokens"):
        permute(fresh(SMALL, 50, 10, 1), torch.tensor([4, 5, 6]), [0, 0, 2])


def test_taking_positions_away_leaves_the_model_as_it_was(systems: list[Untrained]) -> None:
    rotary: ModelConfig = SMALL.model_copy(update={"position": "rotary"})
    for config in [rotary, *(config for _, config in systems)]:
        model = fresh(config, 50, 10, 1)
        src = torch.tensor([[4, 5, 6, 2]])
        before, told = model(src, src), has_positions(model)
        changed = without_positions(model)
        assert not has_positions(changed) and has_positions(model) == told
        assert torch.equal(model(src, src), before)


def test_words_of_trained_models_stay_whole(trained: list[Trained]) -> None:
    for _, bundle in trained:
        for told, found in of_trained(bundle, ["tom", "snow", "jerry"], [2, 1, 0], ""):
            assert told == has_positions(bundle.model) or not told
            assert -1.0 <= found.cosine <= 1.0 + 1e-9 and 0.0 <= found.variation <= 1.0


def test_the_section_tells_numbers_and_translations(systems: list[Untrained], trained: list[Trained]) -> None:
    section = permutation_section(systems, trained)
    numbers, texts = section.parts
    assert isinstance(numbers, Table) and isinstance(texts, Table)
    assert len(numbers.rows) == 2 * len(texts.rows)
    assert '"Jerry hit Tom"' in numbers.title.en
    with pytest.raises(ConfigError, match='"Jerry hit Tim" is no other order of the words of "Tom hit Jerry"'):
        permutation_section(systems, other="Jerry hit Tim")


def test_the_first_and_the_last_word_change_places_if_no_other_order_is_given(systems: list[Untrained]) -> None:
    for sentence, other in (("Tom", "Tom"), ("hit Tom", "Tom hit"), ("a man hits a dog", "dog man hits a a")):
        section = permutation_section(systems[:1], sentence=sentence)
        assert section.parts[0].title.en == f'"{sentence}" and "{other}"'
    with pytest.raises(ConfigError, match="no other order"):
        permutation_section(systems[:1], sentence=" ")


def test_an_order_is_found_from_the_words() -> None:
    assert order_of(["a", "man", "hits", "a", "dog"], ["a", "dog", "hits", "a", "man"]) == [0, 4, 2, 3, 1]
    for other in ("a man hits a", "a man hits a dog a", "", "a a a a a"):
        with pytest.raises(ConfigError, match="no other order"):
            order_of(["a", "man", "hits", "a", "dog"], other.split())
