"""What every way of computing attention must obey. A new entry of CORES is tested by being there."""

from inspect import signature

import pytest
import torch

from sightline.nn.cores import CORES, AttentionCore
from sightline.nn.mask import Mask

HEADS, D = 3, 8


def make(name: str, dropout: float = 0.0) -> AttentionCore:
    torch.manual_seed(1)
    cls, given = CORES[name], {"n_heads": HEADS, "d_head": D, "dropout": dropout}
    return cls(**{key: value for key, value in given.items() if key in signature(cls).parameters}).eval()


def qkv(b: int = 2, tq: int = 5, tk: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tq * 100 + tk)
    return (
        torch.randn(b, HEADS, tq, D, generator=generator),
        torch.randn(b, HEADS, tk, D, generator=generator),
        torch.randn(b, HEADS, tk, D, generator=generator),
    )


def masks(tq: int, tk: int) -> dict[str, Mask]:
    keys = torch.ones(2, tk, dtype=torch.bool)
    keys[1, tk // 2 :] = False
    generator = torch.Generator().manual_seed(3)
    return {
        "everything": Mask(),
        "keys": Mask(keys=keys),
        "causal": Mask(causal=True, offset=tk - tq),
        "window": Mask(causal=True, window=3, offset=tk - tq),
        "pairs": Mask(pairs=torch.rand(2, 1, tq, tk, generator=generator) < 0.6),
        "bias": Mask(bias=torch.randn(1, HEADS, tq, tk, generator=generator)),
        "bias and keys": Mask(bias=torch.randn(1, HEADS, tq, tk, generator=generator), keys=keys),
    }


each_core = pytest.mark.parametrize("name", sorted(CORES))
each_mask = pytest.mark.parametrize("kind", sorted(masks(5, 7)))


@each_core
@each_mask
def test_each_row_of_weights_sums_to_one_or_is_zero_where_nothing_may_be_seen(name: str, kind: str) -> None:
    q, k, _ = qkv()
    mask = masks(5, 7)[kind]
    weights = make(name).weights(q, k, mask)
    allowed = mask.allowed(5, 7, q.device)
    sums = torch.ones(2, HEADS, 5) if allowed is None else allowed.any(-1).float().expand(2, HEADS, 5)
    torch.testing.assert_close(weights.sum(-1), sums)
    if allowed is not None:
        assert (weights.masked_select(~allowed.expand_as(weights)) == 0).all()


@each_core
@pytest.mark.parametrize("tk", [7, 300])  # explicit and fused
def test_a_query_that_may_see_nothing_gets_zeros_and_finite_gradients(name: str, tk: int) -> None:
    q, k, v = qkv(tk=tk)
    q.requires_grad_()
    pairs = torch.ones(1, 1, 5, tk, dtype=torch.bool)
    pairs[..., 2, :] = False
    core = make(name)
    out = core(q, k, v, Mask(pairs=pairs))
    assert (out[:, :, 2] == 0).all()
    out.sum().backward()
    assert q.grad is not None and q.grad.isfinite().all()


@each_core
@each_mask
@pytest.mark.parametrize(("tq", "tk"), [(5, 7), (1, 9), (300, 300), (4, 300)])
def test_forward_is_weights_times_values(name: str, kind: str, tq: int, tk: int) -> None:
    q, k, v = qkv(tq=tq, tk=tk)
    core, mask = make(name), masks(tq, tk)[kind]
    torch.testing.assert_close(core(q, k, v, mask), core.weights(q, k, mask) @ v)


@each_core
@each_mask
@pytest.mark.parametrize(("tq", "tk"), [(5, 7), (20, 20), (4, 300)])
def test_the_gradients_of_forward_are_those_of_weights_times_values(name: str, kind: str, tq: int, tk: int) -> None:
    core, mask = make(name).double(), masks(tq, tk)[kind]
    if mask.bias is not None:
        mask.bias.requires_grad_()
    parts = [x.double().requires_grad_() for x in qkv(tq=tq, tk=tk)] + [x for x in [mask.bias] if x is not None]
    q, k, v = parts[:3]
    seed = torch.randn(2, HEADS, tq, D, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    found, expected = (
        torch.autograd.grad(out, parts, seed, materialize_grads=True)
        for out in (core(q, k, v, mask), core.weights(q, k, mask) @ v)
    )
    torch.testing.assert_close(found, expected)


@each_core
def test_causal_attention_sees_no_future(name: str) -> None:
    q, k, v = qkv(tq=6, tk=6)
    core, mask = make(name), Mask(causal=True)
    before = core(q, k, v, mask)
    k[:, :, 4:], v[:, :, 4:] = 100.0, -100.0
    torch.testing.assert_close(core(q, k, v, mask)[:, :, :4], before[:, :, :4])


@each_core
def test_padding_is_invisible(name: str) -> None:
    q, k, v = qkv(tq=4, tk=7)
    keys = torch.ones(2, 7, dtype=torch.bool)
    keys[:, 5:] = False
    core = make(name)
    torch.testing.assert_close(
        core(q, k, v, Mask(keys=keys)), core(q, k[:, :, :5], v[:, :, :5], Mask(keys=keys[:, :5]))
    )


@each_core
def test_step_by_step_is_all_at_once(name: str) -> None:
    q, k, v = qkv(tq=6, tk=6)
    core = make(name)
    whole = core(q, k, v, Mask(causal=True))
    for i in range(6):
        step = core(q[:, :, i : i + 1], k[:, :, : i + 1], v[:, :, : i + 1], Mask(causal=True, offset=i))
        torch.testing.assert_close(step[:, :, 0], whole[:, :, i])


@pytest.mark.parametrize("name", sorted(CORES.keys() - {"hard"}))  # which draws in training: see tests/nn/test_cores.py
def test_dropout_keeps_the_expectation_and_is_off_in_evaluation(name: str) -> None:
    q, k, v = qkv()
    core = make(name, dropout=0.25)
    exact = core(q, k, v, Mask())
    torch.testing.assert_close(exact, core.weights(q, k, Mask()) @ v)
    core.train()
    mean = torch.stack([core(q, k, v, Mask()) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, exact, atol=0.1, rtol=0)
