"""softmax(q k^T / sqrt(d)) v for a CPU, with a backward pass of its own.

In a small model the products of attention are cheap, and what surrounds them is not: masks of truth values, softmax over
a dozen keys, and casts take several times as long in torch as the products. Here the mask is a table of numbers, made once for
all layers and added; rows are at least `LANES` keys long; and float32 stands only between the products.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.nn.dropout import draw, dropped
from sightline.nn.mask import Mask

BLOCK = 1 << 22
"""Weights that are held at a time, of all sentences and heads, where there are more: 16 MB of float32."""
HELD = 1 << 23
"""Weights up to which all are held from the forward to the backward pass, however long the sequences."""
LONG = 512
"""Keys from which blocks are worth it."""
LANES = 16
"""Keys of the shortest row: torch's softmax takes shorter ones number by number, each at ten times the cost."""


def softmax_attention(
    q: Float[Tensor, "b h tq d"],
    k: Float[Tensor, "b h tk d"],
    v: Float[Tensor, "b h tk d"],
    mask: Mask,
    threshold: int = 0,
) -> Float[Tensor, "b h tq d"]:
    """The values, averaged with the weights of scaled dot products (Vaswani et al. 2017, section 3.2.1) over the keys that `mask`
    allows; zero for a query that may see nothing. Each weight is dropped with probability `threshold` / 256.

    Long sequences with more than `HELD` weights are taken block by block of queries, and a block's weights are computed again for
    its gradient, the same ones dropped: memory grows with the length of the sequences, not with its square.

    The mask's bias gets no gradient.
    """
    b, h, tq, _ = q.shape
    tk = k.shape[-2]
    if tk >= LONG and b * h * tq * tk > HELD:
        return _ByBlocks.apply(q, k, v, mask, threshold)
    table = mask.table(tq, tk, max(tk, LANES), q.device)
    return _SoftmaxAttention.apply(q, k, v, table, mask.seeing(tq, tk, q.device), threshold)


class _SoftmaxAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, seeing: Tensor | None, threshold: int
    ) -> Tensor:
        ctx.threshold = threshold
        weights = _weights(q.contiguous(), _padded(k), table, seeing)
        random = draw(weights.shape, weights.device) if threshold else None
        ctx.save_for_backward(q, k, v, weights, random)  # as they came: what is padded is made again
        return _heads_last(_dropped(weights, random, threshold) @ _padded(v))

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, random = ctx.saved_tensors
        given = grads[0].contiguous(), q.contiguous(), _padded(k), _padded(v)
        by_q, by_k, by_v = _gradients(*given, weights, random, ctx.threshold)
        found = (_heads_last(x) for x in (by_q, by_k[:, :, : k.shape[2]], by_v[:, :, : k.shape[2]]))
        return (*found, None, None, None)


class _ByBlocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor, v: Tensor, mask: Mask, threshold: int) -> Tensor:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        ctx.mask, ctx.threshold = mask, threshold
        ctx.random_state = torch.get_rng_state()
        ctx.save_for_backward(q, k, v)
        out = torch.empty_like(q)
        for rows, keys, weights, random in _blocks(q, k, mask, threshold):
            out[rows] = _dropped(weights, random, threshold) @ v[keys]
        return _heads_last(out)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        by_q = torch.empty_like(q)
        by_k, by_v = (torch.zeros_like(x, dtype=_wide(x[:0]).dtype) for x in (k, v))
        now = torch.get_rng_state()
        torch.set_rng_state(ctx.random_state)
        for rows, keys, weights, random in _blocks(q, k, ctx.mask, ctx.threshold):
            grad = grads[0][rows].contiguous()
            by_q[rows], more_k, more_v = _gradients(grad, q[rows], k[keys], v[keys], weights, random, ctx.threshold)
            by_k[keys] += more_k
            by_v[keys] += more_v
        torch.set_rng_state(now)
        return (*(_heads_last(x.to(q.dtype)) for x in (by_q, by_k, by_v)), None, None)


Slices = tuple[slice, slice, slice]


def _blocks(q: Tensor, k: Tensor, mask: Mask, threshold: int) -> Iterator[tuple[Slices, Slices, Tensor, Tensor | None]]:
    """Where each block of queries stands, which keys it may look at, its weights, and a random byte for each."""
    (b, h, tq, _), tk = q.shape, k.shape[2]
    step = max(1, BLOCK // (b * h * tk))
    eighth = -(-tk // 8)  # few different sizes, so that memory is taken once
    for start in range(0, tq, step):
        end = min(tq, start + step)
        seen = (
            min(tk, -(-(mask.offset + end) // eighth) * eighth) if mask.causal else tk
        )  # no query of the block looks further
        part = mask.part(start, end, seen)
        rows, keys = (slice(None), slice(None), slice(start, end)), (slice(None), slice(None), slice(0, seen))
        table, seeing = part.table(end - start, seen, seen, q.device), part.seeing(end - start, seen, q.device)
        weights = _weights(q[rows], k[keys], table, seeing)
        yield rows, keys, weights, draw(weights.shape, weights.device) if threshold else None


def _weights(q: Tensor, k: Tensor, table: Tensor | None, seeing: Tensor | None) -> Tensor:
    """Attention weights, of the type of `q`."""
    scores, scale = _wide(q @ k.mT), 1.0 / math.sqrt(q.shape[-1])
    scores = scores.mul_(scale) if table is None else torch.add(table, scores, alpha=scale)
    weights = torch.softmax(scores, dim=-1).to(q.dtype)
    return weights if seeing is None else weights.mul_(seeing)


def _gradients(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, random: Tensor | None, threshold: int
) -> tuple[Tensor, Tensor, Tensor]:
    """By queries, keys and values."""
    by_v = _dropped(weights, random, threshold).mT @ grad
    by_weights = _dropped(grad @ v.mT, random, threshold)
    wide = _wide(weights)
    by_scores = torch.ops.aten._softmax_backward_data(_wide(by_weights), wide, -1, wide.dtype)
    by_scores = by_scores.mul_(1.0 / math.sqrt(q.shape[-1])).to(q.dtype)
    return by_scores @ k, by_scores.mT @ q, by_v


def _padded(x: Tensor) -> Tensor:
    """Keys or values one after another, with zeros after them up to `LANES`."""
    missing = LANES - x.shape[2]
    return torch.nn.functional.pad(x, (0, 0, 0, missing)) if missing > 0 else x.contiguous()


def _wide(x: Tensor) -> Tensor:
    """As float32, or as it is if that is wider."""
    return x if x.dtype is torch.float64 else x.float()


def _dropped(weights: Tensor, random: Tensor | None, threshold: int) -> Tensor:
    return weights if random is None else dropped(weights, random, threshold)


def _heads_last(x: Tensor) -> Tensor:
    """The same [b, h, t, d], in memory as [b, t, h, d]: so joining the heads costs nothing."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)
