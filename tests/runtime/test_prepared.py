"""A prepared model gives what the model gives: the same tokens in float32, for every kind of model and every search."""

from typing import Any

import pytest
import torch

from sightline.decoding import Constraint, DecodingSettings, Hypothesis, beam_search, greedy, sample, score
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.runtime.prepared import Layout, Prepared, fastest_precision

VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "norms first": {"norm_at": "pre", "norm": "rms", "bias": False},
    "rotary, grouped": {"position": "rotary", "n_kv_heads": 2, "feedforward": "swiglu"},
    "learned, single": {"position": "learned", "n_kv_heads": 1, "feedforward": "gelu"},
    "cosine, nowhere": {"attention": "cosine", "position": "none", "tie_embeddings": False, "share_embeddings": False},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "narrow": {"beam": 2, "n_best": 2},
    "wide": {"beam": 5, "n_best": 5, "stop": "first"},
    "in groups": {"beam": 6, "beam_groups": 3, "n_best": 6, "diversity": 1.0},
    "covering": {"beam": 3, "n_best": 3, "coverage_penalty": 0.3},
    "without repeats": {"beam": 3, "n_best": 3, "no_repeat_ngram": 2},
}


def model(**settings: Any) -> EncoderDecoder:
    torch.manual_seed(5)
    sizes = {"d_model": 32, "n_heads": 4, "d_ff": 48, "n_encoder_layers": 2, "n_decoder_layers": 2, "max_len": 40}
    built = build_model(TransformerConfig(**{**sizes, **settings}), 30, 30)
    with torch.no_grad():  # first weights would write the same token over and over
        for p in built.parameters():
            p.mul_(1.0 + torch.rand_like(p))
    return built.eval()


def sources(count: int = 7) -> torch.Tensor:
    src = torch.randint(3, 30, (count, 9), generator=torch.Generator().manual_seed(2))
    for row in range(count):
        src[row, 2 + row] = 2
        src[row, 3 + row :] = 0
    return src


def same(one: list[Hypothesis], other: list[Hypothesis]) -> None:
    assert [(h.tokens, h.finished) for h in one] == [(h.tokens, h.finished) for h in other]
    assert [h.score for h in one] == pytest.approx([h.score for h in other], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_beam_search_finds_the_same(variant: str, search: str) -> None:
    plain, src = model(**VARIANTS[variant]), sources()
    settings = DecodingSettings(max_len_ratio=1.0, max_len_extra=6, **SEARCHES[search])
    for one, other in zip(
        beam_search(plain, src, settings), beam_search(Prepared(plain, "fp32"), src, settings), strict=True
    ):
        same(one, other)


@pytest.mark.parametrize("variant", VARIANTS)
def test_so_do_the_others(variant: str) -> None:
    plain, src = model(**VARIANTS[variant]), sources()
    fast, settings = Prepared(plain, "fp32"), DecodingSettings(beam=1, max_len_ratio=1.0, max_len_extra=6)
    same(greedy(plain, src, settings), greedy(fast, src, settings))
    asked = [Constraint(prefix=(4,), include=((5, 6),)), None, Constraint(include=((7,), (8, 9)))] + [None] * 4
    wide = settings.model_copy(update={"beam": 3, "n_best": 3})
    for one, other in zip(beam_search(plain, src, wide, asked), beam_search(fast, src, wide, asked), strict=True):
        same(one, other)
    drawn = settings.model_copy(update={"sample": True, "n_best": 4, "temperature": 1.5})
    for one, other in zip(sample(plain, src, drawn), sample(fast, src, drawn), strict=True):
        same(one, other)
    tgt = torch.tensor([[5, 6, 7, 2, 0]]).expand(7, -1)
    same(score(plain, src, tgt), score(fast, src, tgt))


def test_any_reordering_is_followed() -> None:
    plain, src, numbers = model(), sources(5), torch.Generator().manual_seed(1)
    fast = Prepared(plain, "fp32")
    ours, theirs = fast.start(src), plain.start(src)
    rows = 5
    for count in (5, 9, 20, 14, 3, 3, 8, 1, 2):
        tokens = torch.randint(3, 30, (rows,), generator=numbers)
        torch.testing.assert_close(fast.step(tokens, ours), plain.step(tokens, theirs), rtol=1e-4, atol=1e-5)
        index = torch.randint(0, rows, (count,), generator=numbers)
        ours.reorder(index)
        theirs.reorder(index)
        rows = count
    assert ours.layout.slots < 5


def test_nothing_is_moved_for_a_beam_and_slots_are_given_up_once_enough_are_free() -> None:
    layout = Layout(4, torch.device("cpu"))
    layout.write()
    assert layout.reorder(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])) is None and layout.width == 2
    layout.write()
    assert layout.reorder(torch.tensor([1, 0, 4, 5, 6, 6])) is None  # the second sentence is done: three of four slots
    assert layout.place.tolist() == [0, 1, 4, 5, 6, 7]
    assert layout.history[0].tolist() == [[0, 2], [0, 1]] and layout.history[3].tolist() == [[0, 1], [0, 1]]
    kept = layout.reorder(torch.tensor([0, 1, 4, 5]))
    assert kept is not None and kept.tolist() == [0, 3] and layout.slots == 2 and layout.place.tolist() == [0, 1, 2, 3]


def test_bf16_is_near() -> None:
    plain, src = model(), sources()
    fast = Prepared(plain, "bf16")
    state, expected = fast.start(src), plain.start(src)
    tokens = torch.full((7,), 1)
    for _ in range(4):
        one, other = fast.step(tokens, state).float(), plain.step(tokens, expected)
        assert (one - other).norm() < 0.03 * other.norm()
        tokens = other.argmax(dim=1)
    assert fastest_precision(plain) in ("fp32", "bf16")
