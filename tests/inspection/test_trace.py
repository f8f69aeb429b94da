"""Attention watched from outside: the right numbers, and nothing changed."""

import pytest
import torch

from sightline.inspection.trace import trace
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig, TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.recurrent import Recurrent


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


RECURRENT = {
    "before": {},
    "before, several heads": {"n_heads": 3, "attention": "dot", "cell": "lstm"},
    "after": {"attend": "after", "cell": "elman"},
    "between": {"attend": "between"},
    "after, not fed": {"attend": "after", "input_feeding": False},
    "location": {"attention": "location"},
    "local": {"attention": "local", "attend": "after", "n_decoder_layers": 2},
    "hard": {"attention": "hard"},
}


def recurrent(variant: str) -> Recurrent:
    torch.manual_seed(3)
    model = build_model(RecurrentConfig.model_validate({"d_model": 12, "max_len": 16, **RECURRENT[variant]}), 20, 20)
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.4)
    assert isinstance(model, Recurrent)
    return model.eval()


@pytest.mark.parametrize("variant", RECURRENT)
def test_a_recurrent_layer_is_seen_at_all_its_steps_and_computes_the_same(variant: str) -> None:
    model = recurrent(variant)
    with torch.no_grad():
        plain = model(SRC, TGT)
        with trace(model) as seen:
            watched = model(SRC, TGT)
        after = model(SRC, TGT)
    assert torch.equal(plain, watched) and torch.equal(plain, after) and list(seen) == ["decoder.0.cross_attn"]
    weights = seen["decoder.0.cross_attn"]
    assert weights.shape == (2, model.decoder.get_submodule("0.cross_attn").n_heads, 5, 4)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:3]))
    assert (weights[1, :, :, 2:] == 0).all() and (weights >= 0).all()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("variant", RECURRENT)
def test_what_is_seen_of_a_whole_pass_is_what_is_seen_step_by_step(variant: str) -> None:
    model, steps = recurrent(variant), []
    with trace(model) as seen, torch.no_grad():
        model(SRC, TGT)
        whole = seen["decoder.0.cross_attn"]
        state = model.start(SRC)
        for t in range(TGT.shape[1]):
            model.step(TGT[:, t], state)
            steps.append(seen["decoder.0.cross_attn"])
            assert steps[-1].shape[2] == 1
    torch.testing.assert_close(torch.cat(steps, dim=2), whole)


def test_a_pass_that_broke_off_leaves_nothing_in_the_next() -> None:
    model = recurrent("before")
    with trace(model) as seen, torch.no_grad():
        model(SRC, TGT)
        whole = seen["decoder.0.cross_attn"]
        handle = model.decoder.get_submodule("0.join").register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(SRC, TGT[:, :2])
        handle.remove()
        model(SRC, TGT)
    assert torch.equal(seen["decoder.0.cross_attn"], whole)


def test_a_model_without_attention_has_nothing_to_trace() -> None:
    model = build_model(RecurrentConfig(d_model=8, attention="none"), 20, 20)
    with pytest.raises(ValueError, match="no attention"), trace(model):
        pass
