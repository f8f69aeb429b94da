from typing import cast

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from sightline.nn.mask import Mask
from sightline.nn.mixers import GatedConvolution

CAUSAL, CENTRED = Mask(causal=True), Mask()


def make(kernel_size: int = 3, norm: bool = True, d_model: int = 6) -> GatedConvolution:
    torch.manual_seed(3)
    conv = GatedConvolution(d_model, kernel_size, norm)
    with torch.no_grad():
        for p in conv.parameters():
            p.normal_()
    return conv


def inputs(b: int = 2, t: int = 9, d_model: int = 6) -> torch.Tensor:
    return torch.randn(b, t, d_model, generator=torch.Generator().manual_seed(4))


def torch_weight(conv: GatedConvolution) -> torch.Tensor:
    """As torch's convolution has it: [outputs, inputs, places]."""
    return conv.weight.detach().unflatten(1, (conv.kernel_size, -1)).transpose(1, 2).contiguous()


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("mask", [CAUSAL, CENTRED])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_it_is_torchs_convolution_gated_and_its_gradients_are_the_same(
    kernel_size: int, mask: Mask, norm: bool
) -> None:
    conv, x, y = make(kernel_size, norm), inputs().requires_grad_(), inputs().requires_grad_()
    other = nn.Conv1d(6, 12, kernel_size)
    with torch.no_grad():
        other.weight.copy_(torch_weight(conv))
        assert other.bias is not None
        other.bias.copy_(conv.bias)
    if norm:
        weight_norm(other)
        with torch.no_grad():
            of_torch = dict(other.named_parameters())
            of_torch["parametrizations.weight.original0"].copy_(cast(torch.Tensor, conv.length)[:, None, None])
    before = kernel_size - 1 if mask.causal else kernel_size // 2
    padded = nn.functional.pad(y.transpose(1, 2), (before, kernel_size - 1 - before))
    expected = nn.functional.glu(other(padded), dim=1).transpose(1, 2)
    found = conv(x, mask)
    torch.testing.assert_close(found, expected)
    random = torch.randn(found.shape, generator=torch.Generator().manual_seed(9))
    found.backward(random)
    expected.backward(random)
    torch.testing.assert_close(x.grad, y.grad)
    gradients = {name.split(".")[-1]: p.grad for name, p in other.named_parameters()}
    if norm:
        torch.testing.assert_close(
            cast(torch.Tensor, conv.length).grad, cast(torch.Tensor, gradients["original0"])[:, 0, 0]
        )
    assert conv.weight.grad is not None
    directions = gradients["original1" if norm else "weight"]
    torch.testing.assert_close(conv.weight.grad.unflatten(1, (kernel_size, -1)).transpose(1, 2), directions)
    torch.testing.assert_close(conv.bias.grad, gradients["bias"])


def test_weight_norm_changes_nothing_at_first_and_forgets_how_long_directions_are() -> None:
    torch.manual_seed(6)
    normed = GatedConvolution(6, 3, weight_norm=True)
    plain, x = GatedConvolution(6, 3, weight_norm=False), inputs()
    plain.load_state_dict({name: p for name, p in normed.state_dict().items() if name != "length"})
    before = normed(x, CAUSAL)
    torch.testing.assert_close(before, plain(x, CAUSAL))
    with torch.no_grad():
        normed.weight.mul_(3.0)
    torch.testing.assert_close(normed(x, CAUSAL), before)


def test_a_causal_one_sees_no_future_and_no_more_of_the_past_than_its_kernel() -> None:
    conv, x = make(3), inputs().requires_grad_()
    for t in range(9):
        (gradient,) = torch.autograd.grad(conv(x, CAUSAL)[:, t].sum(), x)
        seen = (gradient != 0).any(dim=-1).any(dim=0).nonzero().flatten().tolist()
        assert seen == [i for i in (t - 2, t - 1, t) if i >= 0]


def test_a_centred_one_sees_as_far_to_either_side() -> None:
    conv, x = make(5), inputs().requires_grad_()
    (gradient,) = torch.autograd.grad(conv(x, CENTRED)[:, 4].sum(), x)
    assert (gradient != 0).any(dim=-1).any(dim=0).nonzero().flatten().tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 6])
@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 4], [2, 7]])
def test_step_by_step_is_all_at_once(kernel_size: int, pieces: list[int]) -> None:
    conv, x = make(kernel_size), inputs()
    cache = conv.cache()
    found = [conv(piece, CAUSAL, cache) for piece in x.split(pieces, dim=1)]
    torch.testing.assert_close(torch.cat(found, dim=1), conv(x, CAUSAL))
    assert cache.held is not None and cache.held.shape[1] == kernel_size - 1


def test_a_reordered_cache_goes_on_with_the_rows_it_was_made_of() -> None:
    conv, x, index = make(3), inputs(), torch.tensor([1, 1, 0])
    cache = conv.cache()
    cache.reorder(index)  # nothing is remembered yet
    conv(x[:, :4], CAUSAL, cache)
    cache.reorder(index)
    torch.testing.assert_close(conv(x[index, 4:], CAUSAL, cache), conv(x, CAUSAL)[index, 4:])


def test_padding_is_zero_to_it_whatever_stands_there() -> None:
    conv, x = make(3), inputs()
    exists = torch.ones(2, 9, dtype=torch.bool)
    exists[0, 5:] = False
    found = conv(torch.where(exists[:, :, None], x, 1e3), Mask(keys=exists))
    torch.testing.assert_close(found[0, :5], conv(x[:1, :5], CENTRED)[0])
    torch.testing.assert_close(found[1], conv(x[1:], CENTRED)[0])


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_at_first_outputs_vary_as_much_as_inputs_that_dropout_has_thinned(dropout: float) -> None:
    torch.manual_seed(1)
    conv = GatedConvolution(256, 3, dropout=dropout)
    x = 0.1 * nn.functional.dropout(torch.randn(64, 40, 256), dropout)
    share = conv(x, CENTRED)[:, 1:-1].std() / 0.1
    assert share.item() == pytest.approx(1.0, abs=0.05)


def test_an_even_kernel_has_a_place_for_causal_masks_alone() -> None:
    conv = make(4)
    assert conv(inputs(), CAUSAL).shape == (2, 9, 6)
    with pytest.raises(ValueError, match="4 positions has no middle: give 5"):
        conv(inputs(), CENTRED)
