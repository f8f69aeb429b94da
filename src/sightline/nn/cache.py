"""What attention remembers between decoding steps. A cache is an argument, never stored on a module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.nn.position import At


@dataclass(frozen=True)
class KeyValues:
    """Projected keys and values, heads split."""

    k: Float[Tensor, "b h tk d"]
    v: Float[Tensor, "b h tk d"]

    def rows(self, index: Int[Tensor, " n"]) -> "KeyValues":
        """The batch rows named by `index`, copied."""
        return KeyValues(self.k.index_select(0, index), self.v.index_select(0, index))


@runtime_checkable
class Cache(Protocol):
    """What self-attention asks of its memory."""

    @property
    def at(self) -> At:
        """Where the next positions stand: how many it holds, or where each of them stands."""
        ...

    def extend(self, new: KeyValues) -> KeyValues:
        """Append `new` positions and return all of them."""
        ...

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the batch rows named by `index`, in that order."""
        ...


class GrowingCache:
    """Keys and values that grow by concatenation: plain, and right for any length."""

    def __init__(self) -> None:
        self.held: KeyValues | None = None

    @property
    def at(self) -> int:
        """How many positions it holds."""
        return 0 if self.held is None else self.held.k.shape[2]

    def extend(self, new: KeyValues) -> KeyValues:
        """Append `new` positions and return all of them."""
        if self.held is not None:
            new = KeyValues(torch.cat((self.held.k, new.k), dim=2), torch.cat((self.held.v, new.v), dim=2))
        self.held = new
        return new

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the batch rows named by `index`, in that order."""
        if self.held is not None:
            self.held = self.held.rows(index)


class MemoryCache:
    """Keys and values of the encoder's memory: projected once, at the first step."""

    def __init__(self) -> None:
        self.held: KeyValues | None = None
        self.watched = False
        """Whether `weights` are wanted, which costs some time."""
        self.weights: Tensor | None = None
        """The attention weights [n, h, tq, s] of the newest step, if they are wanted."""

    def once(self, project: Callable[[], KeyValues]) -> KeyValues:
        """The projected memory; `project` is called the first time only."""
        if self.held is None:
            self.held = project()
        return self.held

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the batch rows named by `index`, in that order."""
        if self.held is not None:
            self.held = self.held.rows(index)


class BlockCache:
    """The caches of one block."""

    def __init__(self, self_attn: Cache | None = None) -> None:
        self.self_attn = GrowingCache() if self_attn is None else self_attn
        self.cross_attn = MemoryCache()


def watch_memory(caches: Sequence[BlockCache]) -> None:
    """Have `memory_attention` from the next step on."""
    for cache in caches:
        cache.cross_attn.watched = True


def memory_attention(caches: Sequence[BlockCache]) -> Float[Tensor, "b tq s"]:
    """How the queries of the newest step looked at the memory, in float32: the mean of all layers and heads."""
    found = [cache.cross_attn.weights for cache in caches if cache.cross_attn.weights is not None]
    return torch.stack([weights.float().mean(dim=1) for weights in found]).mean(dim=0)
