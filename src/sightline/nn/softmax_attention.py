"""softmax(q k^T / sqrt(d)) v for a CPU, with a backward pass of its own.

In a small model the products of attention are cheap, and what surrounds them is not: masks of truth values, softmax over
a dozen keys, and casts take several times as long in torch as the products. Here the mask is a table of numbers, made once for
all layers and added; rows are at least `LANES` keys long; and float32 stands only between the products.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.nn.dropout import draw, dropped
from sightline.nn.mask import Mask

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

    The mask's bias gets no gradient.
    """
    tq, tk = q.shape[-2], k.shape[-2]
    table = mask.table(tq, tk, max(tk, LANES), q.device)
    return _SoftmaxAttention.apply(q, k, v, table, mask.seeing(tq, tk, q.device), threshold)


class _SoftmaxAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, q: Tensor, k: Tensor, v: Tensor, table: Tensor | None, seeing: Tensor | None, threshold: int
    ) -> Tensor:
        ctx.tk, ctx.scale, ctx.threshold = k.shape[2], 1.0 / math.sqrt(q.shape[-1]), threshold
        q, k, v = q.contiguous(), _padded(k), _padded(v)
        scores = _wide(q @ k.mT)
        scores = scores.mul_(ctx.scale) if table is None else torch.add(table, scores, alpha=ctx.scale)
        weights = torch.softmax(scores, dim=-1).to(q.dtype)
        if seeing is not None:
            weights *= seeing
        random = draw(weights.shape, weights.device) if threshold else None
        ctx.save_for_backward(q, k, v, weights, random)
        return _heads_last(_dropped(weights, random, threshold) @ v)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights, random = ctx.saved_tensors
        grad = grads[0].contiguous()
        by_v = _dropped(weights, random, ctx.threshold).mT @ grad
        by_weights = _dropped(grad @ v.mT, random, ctx.threshold)
        wide = _wide(weights)
        by_scores = torch.ops.aten._softmax_backward_data(_wide(by_weights), wide, -1, wide.dtype)
        by_scores = by_scores.mul_(ctx.scale).to(q.dtype)
        by_q, by_k = by_scores @ k, by_scores.mT @ q
        found = (_heads_last(x) for x in (by_q, by_k[:, :, : ctx.tk], by_v[:, :, : ctx.tk]))
        return (*found, None, None, None)


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
