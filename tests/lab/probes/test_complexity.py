"""Operations, chains and paths, counted."""

import pytest
import torch

from sightline.lab.parts import Table
from sightline.lab.probes.complexity import (
    complexity_section,
    layer_cost,
    layers_to_see,
    longest_chain,
    operations_per_token,
    path_length,
)
from sightline.lab.probes.fresh import Untrained, fresh
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig, TransformerConfig

GRU = RecurrentConfig(d_model=16, bidirectional=False)
TRANSFORMER = TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)


def test_the_longest_chain_is_that_from_the_leaf() -> None:
    x, other = (torch.ones(3, requires_grad=True) for _ in range(2))
    short, long = x * 2, ((x * 2).tanh().tanh() + 1).exp()
    assert longest_chain(short, x) == 1
    assert longest_chain(short + long, x) == 6
    deep_elsewhere = other.tanh().tanh().tanh().tanh().tanh() + x
    assert longest_chain(deep_elsewhere, x) == 1
    with pytest.raises(ValueError, match="not computed from"):
        longest_chain(short, other)


def test_a_chain_longer_than_pythons_stack_is_followed() -> None:
    x = torch.ones(1, requires_grad=True)
    out = x
    for _ in range(3000):
        out = out * 1.5
    assert longest_chain(out, x) == 3000


def test_steps_of_a_recurrent_layer_grow_with_the_sentence_and_those_of_attention_do_not() -> None:
    recurrent, attention = layer_cost(GRU, 6), layer_cost(TRANSFORMER, 16)
    assert recurrent.chain_exponent > 0.8 and recurrent.operations_exponent == pytest.approx(1.0)
    assert attention.chain_exponent == 0.0 and 1.0 < attention.operations_exponent < 2.0


def test_the_operations_of_a_transformer_layer_are_those_of_the_formula() -> None:
    n, d, f = 32, 16, 32
    cost = layer_cost(TRANSFORMER, n)
    products = 4 * n * d * d + 2 * n * d * f + 2 * n * n * d
    assert cost.operations[0] == 2 * products


def test_the_longest_path_is_the_sentence_for_recurrence_and_one_for_attention() -> None:
    assert path_length(GRU, 6) == 6
    assert path_length(GRU.model_copy(update={"bidirectional": True}), 6) == 6
    assert path_length(TRANSFORMER, 6) == 1
    window = TRANSFORMER.model_copy(update={"attention": {"kind": "local", "window": 2}})
    assert layers_to_see(window, 9) == 4 and path_length(window, 9) == 4
    assert layers_to_see(TRANSFORMER.model_copy(update={"attention": {"kind": "local", "window": 1}}), 5) == 4


def test_every_system_has_operations_for_each_target_token(systems: list[Untrained]) -> None:
    for _, config in systems:
        model = fresh(config, 50, 40, 1)
        small, large = operations_per_token(model, 4), operations_per_token(model, 8)
        assert 0 < small <= large * 1.05


def test_a_model_for_short_sentences_is_counted_over_as_many_words_as_it_takes() -> None:
    learned = TRANSFORMER.model_copy(update={"position": "learned", "max_len": 5})
    model = build_model(learned, 50, 50)
    assert operations_per_token(model) == operations_per_token(model, 5)


def test_the_section_has_a_row_for_each_system(systems: list[Untrained]) -> None:
    section = complexity_section(systems[-2:], 50, 8)
    assert [len(part.rows) for part in section.parts if isinstance(part, Table)] == [2, 2]
