import pytest
import torch

from sightline.nn.dropout import draw
from sightline.nn.mask import Mask
from sightline.nn.softmax_attention import softmax_attention

SHAPE = (2, 3, 6, 8)


def parts() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SHAPE, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]


def test_dropped_weights_are_scaled_zeros_and_ones_of_the_same_draw_and_pass_their_gradients() -> None:
    q, k, v = parts()
    threshold = 100
    torch.manual_seed(7)
    out = softmax_attention(q, k, v, Mask(causal=True), threshold)
    torch.manual_seed(7)
    kept = (draw(torch.Size((2, 3, 6, 16)), q.device) >= threshold - 128)[..., :6]  # a row is at least 16 keys long
    scores = (q @ k.mT / 8**0.5).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
    plain = (torch.softmax(scores, dim=-1) * kept * 256 / (256 - threshold)) @ v
    torch.testing.assert_close(out, plain)
    assert 0 < kept.sum() < kept.numel()
    seed = torch.randn_like(out)
    found, expected = (torch.autograd.grad(y, (q, k, v), seed) for y in (out, plain))
    torch.testing.assert_close(found, expected)


def test_a_gradient_is_the_slope() -> None:
    q, k, v = parts()
    pairs = torch.rand(2, 1, 6, 6) < 0.5
    pairs[0, 0, 2] = False
    assert torch.autograd.gradcheck(lambda q, k, v: softmax_attention(q, k, v, Mask(pairs=pairs)), (q, k, v))


def test_heads_are_joined_without_a_copy() -> None:
    q, k, v = (x.detach() for x in parts())
    assert softmax_attention(q, k, v, Mask()).transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("tk", [5, 16, 40])
def test_in_bfloat16_only_the_products_are_rounded(tk: int) -> None:
    torch.manual_seed(2)
    q, k, v = torch.randn(2, 3, 6, 8), torch.randn(2, 3, tk, 8), torch.randn(2, 3, tk, 8)
    exact = softmax_attention(q, k, v, Mask())
    found = softmax_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), Mask())
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)
