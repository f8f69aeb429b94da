"""Receptive fields."""

import pytest
import torch

from sightline.lab.parts import LineChart, Table
from sightline.lab.probes.fresh import Trained, Untrained, fresh, random_words
from sightline.lab.probes.receptive import LENGTH, ReceptiveField, receptive_fields, receptive_section, theoretical
from sightline.models.config import ConvolutionalConfig, RecurrentConfig, TransformerConfig

LOCAL = TransformerConfig(
    d_model=16, n_heads=2, d_ff=32, n_encoder_layers=3, n_decoder_layers=1, attention={"kind": "local", "window": 2}
)


def source(length: int) -> torch.Tensor:
    return random_words(2, length, 50, torch.Generator().manual_seed(1))


def test_what_the_architecture_allows_is_never_exceeded(systems: list[Untrained]) -> None:
    for name, config in [*systems, (None, LOCAL)]:
        fields = receptive_fields(fresh(config, 50, 34, 1), source(33), draws=2)
        assert len(fields) == config.n_encoder_layers
        for each in fields:
            assert 1 <= each.reached <= theoretical(config, each.layer, 33), (name, each.layer)


def test_windows_add_up_layer_by_layer() -> None:
    fields = receptive_fields(fresh(LOCAL, 50, 34, 1), source(33), draws=4)
    assert [each.reached for each in fields] == [5, 9, 13]


def test_attention_reaches_every_word_from_its_first_layer_on() -> None:
    config = TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=2, n_decoder_layers=1)
    assert [each.reached for each in receptive_fields(fresh(config, 50, 34, 1), source(33))] == [33, 33]


def test_a_network_that_reads_one_way_sees_nothing_to_come() -> None:
    config = RecurrentConfig(d_model=16, n_encoder_layers=2, bidirectional=False)
    for each in receptive_fields(fresh(config, 50, 34, 1), source(33)):
        ahead = [value for offset, value in zip(each.offsets, each.influence, strict=True) if offset > 0]
        assert not any(ahead) and each.reached == 17
    both = receptive_fields(fresh(config.model_copy(update={"bidirectional": True}), 50, 34, 1), source(33))
    assert [each.reached for each in both] == [33, 33]


def test_the_estimate_is_near_the_norm_of_the_whole_jacobian() -> None:
    config = RecurrentConfig(d_model=8, bidirectional=True)
    model, src = fresh(config, 50, 10, 1), source(7)[:1]
    [found] = receptive_fields(model, src.expand(100, -1), draws=8)
    exact = model.double()
    embedded = exact.src_embed(src).detach()

    def middle(x: torch.Tensor) -> torch.Tensor:
        handle = exact.src_embed.register_forward_hook(lambda *_: x)
        out = exact.start(src).memory[0, 3]
        handle.remove()
        return out

    jacobian = torch.autograd.functional.jacobian(middle, embedded)
    assert isinstance(jacobian, torch.Tensor)
    norms = jacobian[:, 0].square().sum(dim=(0, 2)).sqrt()
    torch.testing.assert_close(torch.tensor(found.influence).double(), norms / norms.max(), atol=0.03, rtol=0.1)


def test_the_strongest_influence_is_one_and_the_seed_repeats_it(systems: list[Untrained]) -> None:
    for _, config in systems:
        model = fresh(config, 50, 20, 1)
        one, two = (receptive_fields(model, source(9), draws=2, seed=4) for _ in range(2))
        assert one == two
        assert all(max(each.influence) == 1.0 and min(each.influence) >= 0 for each in one)


def test_words_count_from_a_share_of_the_strongest_on() -> None:
    field = ReceptiveField(1, [-2, -1, 0, 1, 2], [0.0, 0.04, 1.0, 0.05, 0.0])
    assert (field.reached, field.effective) == (3, 2)


def test_the_radius_holds_most_of_the_influence() -> None:
    def radius(influence: list[float]) -> int:
        return ReceptiveField(1, list(range(-2, 3)), influence).radius

    assert radius([0.0, 0.0, 1.0, 0.0, 0.0]) == 0
    assert radius([0.0, 0.5, 1.0, 0.5, 0.1]) == 1
    assert radius([1.0, 1.0, 1.0, 1.0, 1.0]) == 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ConvolutionalConfig(kernel_size=5), 1 + 3 * 4),
        (ConvolutionalConfig(kernel_size=31), LENGTH),
        (TransformerConfig(), LENGTH),
        (TransformerConfig(attention="local"), LENGTH - 4),
        (TransformerConfig(attention={"kind": "local", "predict": True}), LENGTH),
        (RecurrentConfig(), LENGTH),
        (RecurrentConfig(bidirectional=False), 33),
    ],
)
def test_three_layers_see_at_most(config: ConvolutionalConfig, words: int) -> None:
    assert theoretical(config, 3, LENGTH) == words


def test_the_section_has_a_chart_for_each_system_and_a_row_for_each_layer(
    systems: list[Untrained], trained: list[Trained]
) -> None:
    section = receptive_section(systems, trained[:1], length=9, rows=2, draws=1, vocab_size=50)
    charts = [part for part in section.parts if isinstance(part, LineChart)]
    [table] = [part for part in section.parts if isinstance(part, Table)]
    layers = sum(config.n_encoder_layers for _, config in systems) + trained[0][1].config.model.n_encoder_layers
    assert len(charts) == len(systems) + 1 and len(table.rows) == layers
