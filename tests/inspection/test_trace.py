"""Attention watched from outside: the right numbers, and nothing changed."""

import pytest
import torch

from sightline.inspection.trace import trace
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder


@pytest.fixture(params=["dot", "cosine"])
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    torch.manual_seed(1)
    sizes = {"d_model": 24, "n_heads": 3, "d_ff": 32, "n_encoder_layers": 2, "n_decoder_layers": 3}
    return build_model(TransformerConfig(**sizes, attention=request.param), 20, 20).eval()  # pyright: ignore[reportArgumentType]


SRC, TGT = torch.tensor([[5, 6, 7, 2], [8, 2, 0, 0]]), torch.tensor([[1, 9, 9, 4, 3], [1, 3, 0, 0, 0]])


def test_watched_and_unwatched_outputs_are_the_same_bit_for_bit(model: EncoderDecoder) -> None:
    plain = model(SRC, TGT)
    with trace(model) as seen:
        watched = model(SRC, TGT)
    assert torch.equal(plain, watched) and torch.equal(model(SRC, TGT), plain)
    kinds = {"encoder": 2, "decoder": 3}
    assert sorted(seen) == sorted(
        [f"{part}.{i}.self_attn" for part, n in kinds.items() for i in range(n)]
        + [f"decoder.{i}.cross_attn" for i in range(3)]
    )
    assert seen["decoder.2.cross_attn"].shape == (2, 3, 5, 4)


def test_the_weights_are_those_of_the_definition_and_see_no_padding(model: EncoderDecoder) -> None:
    with trace(model, "decoder.*.cross_attn") as seen, torch.no_grad():
        model(SRC, TGT)
    assert sorted(seen) == [f"decoder.{i}.cross_attn" for i in range(3)]
    for weights in seen.values():
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 3, 5))
        assert (weights[1, :, :, 2:] == 0).all() and (weights >= 0).all()
    attention = model.decoder.get_submodule("0").get_submodule("cross_attn")
    given = []
    handle = attention.core.register_forward_pre_hook(lambda _, args: given.append(args))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    with torch.no_grad():
        model(SRC, TGT)
    handle.remove()
    q, k, _, mask = given[0]
    torch.testing.assert_close(seen["decoder.0.cross_attn"], attention.core.weights(q, k, mask))  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]


def test_an_address_that_nothing_has_is_said(model: EncoderDecoder) -> None:
    with pytest.raises(ValueError, match=r"'decoder\.9\.\*'"), trace(model, "decoder.9.*"):
        pass
