"""Gradients over distance."""

import math

import pytest
import torch

from sightline.data.tokenizers import Tokenizer
from sightline.lab.parts import LineChart, Table
from sightline.lab.probes.fresh import Trained, Untrained, fresh, one_way, random_words
from sightline.lab.probes.gradients import (
    GradientByDistance,
    at_first,
    averaged,
    clipping,
    deep_systems,
    gradient_by_distance,
    gradient_by_layer,
    gradients_section,
    of_trained,
    scaled_recurrence,
)
from sightline.models.config import RecurrentConfig, TransformerConfig
from sightline.models.sequence_to_sequence import AnyModel

ELMAN = RecurrentConfig(cell="elman", d_model=24, attention="none", bidirectional=False)
ATTENTIVE = ELMAN.model_copy(update={"attention": "additive"})
TRANSFORMER = TransformerConfig(d_model=24, n_heads=4, d_ff=48, n_encoder_layers=1, n_decoder_layers=1)


def tokens(rows: int, length: int, seed: int = 1) -> torch.Tensor:
    return random_words(rows, length, 50, torch.Generator().manual_seed(seed))


def losses(model: AnyModel, embedded: torch.Tensor, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
    """The loss of the last target word, for each of several embeddings of the source."""
    src, tgt = src.expand(len(embedded), -1), tgt.expand(len(embedded), -1)
    handle = model.src_embed.register_forward_hook(lambda *_: embedded)
    begin = torch.full_like(tgt[:, :1], model.bos_id)
    with torch.no_grad():
        logits = model(src, torch.cat((begin, tgt[:, :-1]), dim=1))[:, -1]
    handle.remove()
    return torch.nn.functional.cross_entropy(logits, tgt[:, -1], reduction="none")


def test_the_norm_is_that_of_the_derivative_by_the_word_at_that_distance(systems: list[Untrained]) -> None:
    for _, config in systems:
        one = config.model_copy(update={"n_decoder_layers": 1})  # ConvS2S divides gradients by the number of layers
        model = fresh(one, 50, 10, 1).double()
        src, tgt = tokens(1, 6), tokens(1, 3, seed=2)
        found = gradient_by_distance(model, src, tgt, (3, 5, 8))
        with torch.no_grad():
            embedded = model.src_embed(src)
        for distance, norm in zip(found.distances, found.norms, strict=True):
            n = embedded.shape[-1]
            move = torch.zeros(n, *embedded.shape[1:], dtype=torch.float64)
            move[torch.arange(n), 6 + 2 - distance, torch.arange(n)] = 1e-4
            up, down = (losses(model, embedded + sign * move, src, tgt) for sign in (1, -1))
            by_number = (up - down) / 2e-4
            assert norm == pytest.approx(float(by_number.norm()), rel=1e-3, abs=1e-9)


def test_the_series_has_the_distances_asked_for_and_the_seed_repeats_it(systems: list[Untrained]) -> None:
    one, two = (at_first(systems, (1, 2, 8), 50, rows=2, seeds=2) for _ in range(2))
    assert one == two
    assert all(each.distances == [1, 2, 8] and each.relative[0] == 1.0 and min(each.norms) > 0 for each in one)


def test_a_distance_without_a_word_is_refused() -> None:
    model = fresh(ELMAN, 50, 10, 1)
    for distances in ((0,), (2,), (9,)):
        with pytest.raises(ValueError, match="are not all from 3 to 8"):
            gradient_by_distance(model, tokens(1, 6), tokens(1, 3), distances)


def test_without_gates_and_attention_the_gradient_vanishes_and_with_attention_it_does_not() -> None:
    elman, attentive, transformer = (
        each.relative[-1] for each in at_first([(n, c) for n, c in _named()], (1, 8, 64), 50, rows=4, seeds=1)
    )
    assert elman < 1e-8
    assert attentive > 1e-3
    assert 0.1 < transformer < 10


def _named() -> list[Untrained]:
    from sightline.lab.parts import Said

    return [(Said("a", "a"), config) for config in (ELMAN, ATTENTIVE, TRANSFORMER)]


def test_models_are_read_one_way_so_that_the_first_word_is_far() -> None:
    both = ELMAN.model_copy(update={"bidirectional": True})
    src, tgt = tokens(2, 32), tokens(2, 1)
    near = gradient_by_distance(fresh(both, 50, 40, 1), src, tgt, (1, 32)).relative[-1]
    far = gradient_by_distance(fresh(one_way(both), 50, 40, 1), src, tgt, (1, 32)).relative[-1]
    assert near > 1e-2 and far < 1e-4


def test_the_average_over_seeds_is_geometric() -> None:
    found = averaged([GradientByDistance([1, 2], [1.0, 1e-4]), GradientByDistance([1, 2], [4.0, 1e-8])])
    assert found.norms == pytest.approx([2.0, 1e-6])
    assert found.factor == pytest.approx(5e-7)


def test_clipping_bounds_the_norm_and_leaves_what_is_below_alone() -> None:
    model, src, tgt = fresh(ELMAN, 50, 40, 1), tokens(4, 30), tokens(4, 5, seed=2)
    small = clipping(model, src, tgt, limit=100.0)
    assert small.after == pytest.approx(small.before)
    cut = clipping(model, src, tgt, limit=small.before / 2)
    assert cut.before == pytest.approx(small.before)
    assert cut.after == pytest.approx(small.before / 2, rel=1e-4)


def test_larger_recurrent_weights_make_gradients_grow_where_they_shrank() -> None:
    model, src, tgt = fresh(ELMAN, 50, 70, 1), tokens(4, 64), tokens(4, 1)
    assert gradient_by_distance(model, src, tgt, (1, 64)).factor < 0.9
    assert gradient_by_distance(scaled_recurrence(model, 3.0), src, tgt, (1, 64)).factor > 1.0


def test_residual_connections_lead_the_gradient_down_through_layers() -> None:
    found = {
        name.en: gradient_by_layer(fresh(config, 50, 20, 1), tokens(2, 8), tokens(2, 8, seed=2))
        for name, config in deep_systems(16, layers=6)
    }
    assert all(len(norms) == 7 and all(math.isfinite(norm) for norm in norms) for norms in found.values())
    for cell in ("GRU", "LSTM"):
        with_residuals, without = found[f"{cell}, with residuals"], found[f"{cell}, without residuals"]
        assert with_residuals[0] / with_residuals[-1] > 2 * without[0] / without[-1]


def test_trained_models_are_read_on_real_sentences(trained: list[Trained]) -> None:
    pairs = [("tom hit jerry .", "jerry saw tom"), ("a dog runs through the snow .", "the snow saw a dog")] * 3
    for _, bundle in trained:
        found = of_trained(bundle, pairs, (1, 4, 16), rows=2)
        assert found is not None and found.distances == [1, 4, 16] and all(norm > 0 for norm in found.norms)


def test_distances_that_the_sentences_do_not_reach_are_left_out(trained: list[Trained], tokenizer: Tokenizer) -> None:
    bundle, pair = trained[0][1], ("tom hit jerry .", "jerry saw tom")
    length = len(tokenizer.encode_src([pair[0]])[0])
    found = of_trained(bundle, [pair], (1, 2, length, length + 1), rows=2)
    assert found is not None and found.distances == [1, 2, length]
    for pairs in ([], [("", "")]):
        assert of_trained(bundle, pairs, (1, 2, 4), rows=2) is None
    section = gradients_section(_named()[:1], trained[:1], [], (), (1, 4), 50, rows=2, seeds=1)
    assert [type(part) for part in section.parts] == [LineChart, Table, Table] and len(section.text) == 2


def test_each_text_begins_a_sentence_after_the_one_before(
    trained: list[Trained], tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("tom hit jerry .", "jerry saw tom"), ("a dog runs", "the snow")] * 3
    seen: list[torch.Tensor] = []

    def noted(model: AnyModel, src: torch.Tensor, tgt: torch.Tensor, distances: list[int]) -> GradientByDistance:
        seen.extend((src, tgt))
        return gradient_by_distance(model, src, tgt, distances)

    monkeypatch.setattr("sightline.lab.probes.gradients.gradient_by_distance", noted)
    of_trained(trained[0][1], pairs, (1, 8), rows=3)
    text = [token for ids in tokenizer.encode_src([a for a, _ in pairs]) for token in ids[:-1]]
    second, third = (len(tokenizer.encode_src([pairs[i][0]])[0]) - 1 for i in (0, 1))
    starts = (0, second, second + third)
    assert seen[0].tolist() == [[*text[start : start + 7], tokenizer.eos_id] for start in starts]
    assert seen[1].tolist() == [tokenizer.encode_tgt([pairs[i][1]])[0][:1] for i in range(3)]


def test_the_section_has_the_charts_and_tables(systems: list[Untrained], trained: list[Trained]) -> None:
    pairs = [("tom hit jerry .", "jerry saw tom")] * 8
    section = gradients_section(
        systems[:2], trained[:1], pairs, deep_systems(8, layers=2)[:2], (1, 4), 50, rows=2, seeds=1
    )
    assert [type(part) for part in section.parts] == [LineChart, LineChart, Table, LineChart, Table]
    assert "test sentences, one after another" in section.text[2].en and "一句接一句" in section.text[2].zh
    first = section.parts[0]
    assert isinstance(first, LineChart) and [line.name for line in first.lines] == [name for name, _ in systems[:2]]
