"""How attention is computed. A new attention is a class with one method, `weights`.

Letters: b batch, h heads, tq queries, tk keys, d size of a head.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.nn.dropout import Dropout
from sightline.nn.mask import Mask
from sightline.nn.softmax_attention import softmax_attention

SHORT = 256
"""Up to this many keys the explicit softmax(q k) v is faster than a fused kernel on a CPU, backward above all."""


def masked_softmax(scores: Float[Tensor, "b h tq tk"], mask: Mask) -> Float[Tensor, "b h tq tk"]:
    """Softmax over the keys that `mask` allows, with its bias added. A query that may see nothing gets zeros.

    Accepts scores of any float type and returns the same type; half types are normalised in float32.
    """
    if mask.bias is not None:
        scores = scores + mask.bias
    allowed = mask.allowed(scores.shape[-2], scores.shape[-1], scores.device)
    if allowed is None:
        return torch.softmax(scores, dim=-1)
    weights = torch.softmax(scores.masked_fill(~allowed, torch.finfo(scores.dtype).min), dim=-1)
    if mask.may_hide_everything:
        weights = weights * allowed.any(dim=-1, keepdim=True)
    return weights


class AttentionCore(nn.Module):
    """The seam: from queries, keys and values to the attended values.

    `weights` is the definition. `forward` is by default `dropout(weights) @ v` and may be overridden by any faster way to
    the same result; a law in the tests holds every core to that.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)

    def weights(
        self, q: Float[Tensor, "b h tq d"], k: Float[Tensor, "b h tk d"], mask: Mask
    ) -> Float[Tensor, "b h tq tk"]:
        """Attention weights: each row sums to one, or is zero where the mask hides every key."""
        raise NotImplementedError(f"{type(self).__name__} must define weights(q, k, mask)")

    def forward(
        self, q: Float[Tensor, "b h tq d"], k: Float[Tensor, "b h tk d"], v: Float[Tensor, "b h tk d"], mask: Mask
    ) -> Float[Tensor, "b h tq d"]:
        """The values, averaged with the weights; weights of another float type are first made `v`'s."""
        return self.dropout(self.weights(q, k, mask)).to(v.dtype) @ v


class ScaledDotProduct(AttentionCore):
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, section 3.2.1).

    Short sequences on a CPU, and any sequence while attention dropout is at work there, are computed as written; others by
    torch's fused kernel.
    """

    def weights(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        return masked_softmax((q * (1.0 / math.sqrt(q.shape[-1]))) @ k.mT, mask)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        dropout = self.dropout.p if self.training else 0.0
        if q.device.type == "cpu" and (k.shape[-2] <= SHORT or dropout > 0):
            if mask.bias is not None and mask.bias.requires_grad:
                return super().forward(q, k, v, mask)
            return softmax_attention(q, k, v, mask, self.dropout.threshold if self.training else 0)
        tq, tk = q.shape[-2], k.shape[-2]
        if mask.only_causal and mask.offset == 0 and tq == tk:
            return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        allowed = mask.allowed(tq, tk, q.device)
        bias = allowed
        if mask.bias is not None:
            bias = mask.bias.to(q.dtype)
            if allowed is not None:
                bias = bias.masked_fill(~allowed, -math.inf)
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        if mask.may_hide_everything and allowed is not None:
            out = out.masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)
        return out


class Cosine(AttentionCore):
    """softmax(g cos(q, k)) v with a learned sharpness g per head, kept positive (Henry et al. 2020, "Query-Key Normalization
    for Transformers", section 2: g begins at log2(L^2 - L), L a typical length).

    `n_heads` is the number of query heads; `length` the typical number of keys.
    """

    def __init__(self, n_heads: int, dropout: float = 0.0, length: int = 32) -> None:
        super().__init__(dropout)
        self.log_sharpness = nn.Parameter(torch.full((n_heads,), math.log(math.log2(length**2 - length))))

    def weights(self, q: Tensor, k: Tensor, mask: Mask) -> Tensor:  # noqa: D102
        q, k = nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1)
        return masked_softmax(self.log_sharpness.exp()[:, None, None] * (q @ k.mT), mask)


CORES: dict[str, type[AttentionCore]] = {"dot": ScaledDotProduct, "cosine": Cosine}
