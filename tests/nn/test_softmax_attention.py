import pytest
import torch

from sightline.nn import softmax_attention as attention
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


MASKS = {
    "causal": Mask(causal=True),
    "later": Mask(causal=True, offset=3),
    "window": Mask(window=3),
    "padded": Mask(causal=True, keys=torch.arange(9) < torch.tensor([[4], [9]])),
    "pairs and bias": Mask(
        pairs=torch.rand(2, 1, 6, 9, generator=torch.Generator().manual_seed(1)) < 0.4,
        bias=torch.randn(1, 3, 6, 9, generator=torch.Generator().manual_seed(2)),
    ),
}


@pytest.mark.parametrize("name", MASKS)
def test_blocks_of_queries_give_the_same_and_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(2, 3, t, 8, dtype=torch.float64, generator=generator).requires_grad_() for t in (6, 9, 9))
    seed = torch.randn(q.shape, dtype=torch.float64, generator=generator)
    results = []
    for held in (10_000, 0):
        monkeypatch.setattr(attention, "HELD", held)
        monkeypatch.setattr(attention, "LONG", 0)
        monkeypatch.setattr(attention, "BLOCK", 2 * 3 * 9 * 4)  # four of the six queries
        out = softmax_attention(q, k, v, MASKS[name])
        results.append([out, *torch.autograd.grad(out, (q, k, v), seed)])
    torch.testing.assert_close(results[1], results[0])


def test_blocks_drop_the_same_weights_on_the_way_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "HELD", 0)
    monkeypatch.setattr(attention, "LONG", 0)
    monkeypatch.setattr(attention, "BLOCK", 2 * 3 * 6 * 4)

    def dropping(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return softmax_attention(q, k, v, Mask(causal=True), 100)

    assert torch.autograd.gradcheck(dropping, parts(), fast_mode=True)
    q, k, v = parts()
    assert not torch.equal(dropping(q, k, v), softmax_attention(q, k, v, Mask(causal=True)))
