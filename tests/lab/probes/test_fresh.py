"""Models with their first weights, and small systems of a size."""

import pytest
import torch

from sightline.lab.probes.flow import flow
from sightline.lab.probes.fresh import FIRST_WORD, Untrained, classics, fresh, one_way, random_words
from sightline.lab.size import size_of
from sightline.models.config import RecurrentConfig, TransformerConfig


def test_the_seed_alone_decides_the_first_weights(systems: list[Untrained]) -> None:
    for _, config in systems:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        one, same, other = (fresh(config, 50, 10, seed) for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before)
        pairs = list(zip(one.parameters(), same.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_fresh_model_has_no_dropout_and_takes_the_length(systems: list[Untrained]) -> None:
    for _, config in systems:
        model = fresh(config.model_copy(update={"max_len": 4}), 50, 12, 1).train()
        src = random_words(2, 12, 50, torch.Generator().manual_seed(1))
        assert torch.equal(model(src, src), model(src, src))


def test_random_words_are_no_special_tokens() -> None:
    words = random_words(50, 50, 9, torch.Generator().manual_seed(1))
    assert set(words.flatten().tolist()) == set(range(FIRST_WORD, 9))


def test_classics_have_about_as_many_parameters_as_asked_for() -> None:
    for _, config in classics(["elman", "gru", "lstm", "gru-additive", "conv", "transformer"], 50_000, 20):
        assert size_of(config, 20) == pytest.approx(50_000, rel=0.25)


def test_only_recurrent_models_can_be_made_to_read_one_way() -> None:
    one = one_way(RecurrentConfig())
    assert isinstance(one, RecurrentConfig) and not one.bidirectional
    config = TransformerConfig()
    assert one_way(config) is config


def test_watching_what_flows_changes_nothing_and_ends(systems: list[Untrained]) -> None:
    for _, config in systems:
        model = fresh(config, 50, 10, 1)
        src = random_words(2, 6, 50, torch.Generator().manual_seed(1))
        plain = model(src, src)
        with flow(model) as seen:
            watched = model(src, src)
        assert torch.equal(plain, watched)
        assert seen.embedding.is_leaf and seen.embedding.shape[:2] == (2, 6)
        assert len(seen.layers) == config.n_encoder_layers
        assert all(each.shape[:2] == (2, 6) for each in [*seen.layers, seen.memory])
        assert not any(module._forward_hooks for module in model.modules())
