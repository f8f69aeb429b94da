"""Project, split into heads, attend, join. How attention is computed is the core's business."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from sightline.nn.cache import Cache, KeyValues, MemoryCache
from sightline.nn.cores import AttentionCore
from sightline.nn.mask import Mask
from sightline.nn.position import At

Rotate = Callable[[Tensor, At], Tensor]
"""Turns heads [b, h, t, d] that stand somewhere: see `position.Rotary`."""


class _Attention(nn.Module):
    def __init__(
        self,
        d_model: int,
        n_heads: int,
        core: AttentionCore,
        n_kv_heads: int | None,
        bias: bool,
        d_memory: int | None = None,
    ) -> None:
        super().__init__()
        n_kv_heads, d_memory = n_kv_heads or n_heads, d_memory or d_model
        if d_model % n_heads:
            raise ValueError(f"d_model ({d_model}) must be a multiple of n_heads ({n_heads})")
        if n_heads % n_kv_heads:
            raise ValueError(f"n_heads ({n_heads}) must be a multiple of n_kv_heads ({n_kv_heads})")
        self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads, d_model // n_heads
        self.q_proj = nn.Linear(d_model, n_heads * self.d_head, bias=bias)
        self.k_proj = nn.Linear(d_memory, n_kv_heads * self.d_head, bias=bias)
        self.v_proj = nn.Linear(d_memory, n_kv_heads * self.d_head, bias=bias)
        self.core = core
        self.o_proj = nn.Linear(n_heads * self.d_head, d_model, bias=bias)

    def _split(self, x: Float[Tensor, "b t hd"]) -> Float[Tensor, "b h t d"]:
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def _for_all_heads(self, x: Float[Tensor, "b g tk d"]) -> Float[Tensor, "b h tk d"]:
        """Keys or values; in grouped-query attention several query heads share one."""
        return x if self.n_kv_heads == self.n_heads else x.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)

    def _attend(self, q: Float[Tensor, "b h tq d"], held: KeyValues, mask: Mask) -> Float[Tensor, "b tq m"]:
        k, v = self._for_all_heads(held.k), self._for_all_heads(held.v)
        return self.o_proj(self.core(q, k, v, mask).transpose(1, 2).flatten(2))


class SelfAttention(_Attention):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2.2); `n_kv_heads` below `n_heads` gives grouped-query
    (Ainslie et al. 2023), 1 multi-query attention (Shazeer 2019).

    Raises ValueError if the heads do not divide `d_model` or each other.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        core: AttentionCore,
        n_kv_heads: int | None = None,
        bias: bool = True,
        rotate: Rotate | None = None,
    ) -> None:
        super().__init__(d_model, n_heads, core, n_kv_heads, bias)
        self.rotate = rotate

    def forward(self, x: Float[Tensor, "b t m"], mask: Mask, cache: Cache | None = None) -> Float[Tensor, "b t m"]:
        """Each position looks at the positions `mask` allows, those in `cache` among them."""
        q, k, v = self._split(self.q_proj(x)), self._split(self.k_proj(x)), self._split(self.v_proj(x))
        if self.rotate is not None:
            at = 0 if cache is None else cache.at
            q, k = self.rotate(q, at), self.rotate(k, at)
        held = KeyValues(k, v) if cache is None else cache.extend(KeyValues(k, v))
        return self._attend(q, held, mask)


class CrossAttention(_Attention):
    """Attention from one sequence to another: queries from `x`, keys and values from the encoder's memory (Vaswani et al.
    2017, section 3.2.3). Arguments as `SelfAttention`; `d_memory` is the width of the memory, if it is another.
    """

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        core: AttentionCore,
        n_kv_heads: int | None = None,
        bias: bool = True,
        d_memory: int | None = None,
    ) -> None:
        super().__init__(d_model, n_heads, core, n_kv_heads, bias, d_memory)

    def project(self, memory: Float[Tensor, "b s n"], values: Float[Tensor, "b s n"] | None = None) -> KeyValues:
        """The keys and values [b, h, s, d] of the memory; values come from `values`, if they are others."""
        return KeyValues(
            self._split(self.k_proj(memory)), self._split(self.v_proj(memory if values is None else values))
        )

    def forward(
        self,
        x: Float[Tensor, "b t m"],
        memory: Float[Tensor, "b s n"],
        mask: Mask,
        cache: MemoryCache | None = None,
        values: Float[Tensor, "b s n"] | None = None,
    ) -> Float[Tensor, "b t m"]:
        """Each position of `x` looks at the positions of `memory` that `mask` allows, and sees them or `values`."""
        q = self._split(self.q_proj(x))
        held = self.project(memory, values) if cache is None else cache.once(lambda: self.project(memory, values))
        if cache is not None and cache.watched:
            cache.weights = self.core.weights(q, self._for_all_heads(held.k), mask)
        return self._attend(q, held, mask)
