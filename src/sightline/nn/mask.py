"""Who may look at whom, as a description. A tensor is made only when a core asks for one."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sightline.nn.position import At

HIDDEN = -(2.0**100)
"""A score so low that its softmax is zero, and yet a number: a row of nothing else gives no NaN."""


@dataclass(frozen=True)
class Mask:
    """Which keys each query may look at; True means may look. Parts combine with "and".

    A fused kernel can ask "is this just causal?" instead of testing a tensor, and causality is a statement, never
    a guess from shapes.
    """

    causal: bool = False
    """A query looks at its own position and earlier ones."""
    keys: Bool[Tensor, "b tk"] | None = None
    """Keys that exist (False: padding)."""
    pairs: Bool[Tensor, "#b #h tq tk"] | None = None
    """Any pattern: the edges of a graph, a document boundary."""
    window: int | None = None
    """A query looks at keys fewer than `window` positions away."""
    bias: Float[Tensor, "#b #h tq tk"] | None = None
    """Added to the scores before softmax: ALiBi, relative positions."""
    offset: int = 0
    """The position of the first query among the keys: how many came before, in a cache."""
    at: At | None = None
    """Where the queries stand in their own sequence, if not from `offset` on: see `standing`."""
    _made: dict[tuple, Tensor | None] = field(default_factory=dict, repr=False, compare=False)

    def allowed(self, tq: int, tk: int, device: torch.device) -> Bool[Tensor, "#b #h #tq tk"] | None:
        """The tensor of this mask for `tq` queries and `tk` keys, or None if everything may be seen.

        Made once: every layer that is given the same mask shares it. (Not inside `torch.compile`, where a key of sizes would
        mean a program a size, and making it anew costs nothing: it is fused with what reads it.)
        """
        if torch.compiler.is_compiling():
            return self._make(tq, tk, device)
        key = (tq, tk, device)
        if key not in self._made:
            made = self._make(tq, tk, device)
            if made is None:
                return None
            self._made[key] = made
        return self._made[key]

    def part(self, start: int, end: int, tk: int) -> "Mask":
        """Of the same mask the queries from `start` to before `end`, and the first `tk` keys."""

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[:, :, start:end, :tk]

        keys = None if self.keys is None else self.keys[:, :tk]
        at = self.at + start if isinstance(self.at, int) else None if self.at is None else self.at[:, start:end]
        return Mask(self.causal, keys, cut(self.pairs), self.window, cut(self.bias), self.offset + start, at)

    def _make(self, tq: int, tk: int, device: torch.device) -> Tensor | None:
        allowed = None if self.keys is None else self.keys[:, None, None, :]
        if self.causal or self.window is not None:
            query = torch.arange(self.offset, self.offset + tq, device=device)[:, None]
            distance = query - torch.arange(tk, device=device)[None, :]
            near = distance >= 0 if self.causal else torch.ones_like(distance, dtype=torch.bool)
            if self.window is not None:
                near = near & (distance.abs() < self.window)
            allowed = near[None, None] if allowed is None else allowed & near
        if self.pairs is not None:
            allowed = self.pairs if allowed is None else allowed & self.pairs
        return allowed

    def table(self, tq: int, tk: int, width: int, device: torch.device) -> Float[Tensor, "#b #h #tq width"] | None:
        """The same mask as numbers to add to scores: the bias, or 0, where a query may look, and `HIDDEN` where not and in the
        columns from `tk` to `width`. None if that would be 0 everywhere. Made once, like `allowed`.
        """
        allowed = self.allowed(tq, tk, device)
        given = [part for part in (allowed, self.bias) if part is not None]
        if not given and width == tk:
            return None
        key = (tq if given else 1, tk, width, device)
        if key not in self._made:
            shapes = [(1, 1, key[0]), *(part.shape[:3] for part in given)]
            rows = [
                max(sizes) for sizes in zip(*shapes, strict=True)
            ]  # torch.broadcast_shapes imports torch.fx, a second
            table = torch.full((*rows, width), HIDDEN, device=device)
            table[..., :tk] = 0.0 if self.bias is None else self.bias
            if allowed is not None:
                table[..., :tk].masked_fill_(~allowed, HIDDEN)
            self._made[key] = table
        return self._made[key]

    def standing(self, at: At) -> "Mask":
        """The same mask, and the tensors it has made, for queries that stand at `at` in their own sequence: the first of them,
        or each. Who may look at whom does not depend on it.
        """
        return replace(self, at=at)

    def query_places(self, tq: int, device: torch.device) -> Int[Tensor, "#b tq"]:
        """Where each query stands in its own sequence."""
        first = self.offset if self.at is None else self.at
        return torch.arange(first, first + tq, device=device)[None] if isinstance(first, int) else first

    def key_places(self, tq: int, tk: int, device: torch.device) -> Int[Tensor, "#b #h #tq tk"]:
        """Where each key stands among those that a query may see, and how many of them came before it, less one, for the others.

        That is its place in its own sequence, whatever stands beside it in a row or a cache.
        """
        allowed = self.allowed(tq, tk, device)
        if allowed is None:
            return torch.arange(tk, device=device)[None, None, None]
        if torch.compiler.is_compiling():  # as in `allowed`
            return allowed.cumsum(-1) - 1
        key = (tq, tk, "places", device)
        if key not in self._made:
            self._made[key] = allowed.cumsum(-1) - 1
        made = self._made[key]
        assert made is not None
        return made

    def seeing(self, tq: int, tk: int, device: torch.device) -> Bool[Tensor, "#b #h #tq 1"] | None:
        """Which queries may look anywhere at all; None if all of them may, for which a GPU has to be waited for."""
        if not self.may_hide_everything:
            return None
        key = (tq, tk, "seeing", device)
        if key not in self._made:
            allowed = self.allowed(tq, tk, device)
            assert allowed is not None
            seeing = allowed.any(dim=-1, keepdim=True)
            self._made[key] = None if seeing.all() else seeing
        return self._made[key]

    @property
    def may_hide_everything(self) -> bool:
        """Whether some query might see no key at all: its weights are then zero, not NaN."""
        return self.keys is not None or self.pairs is not None

    @property
    def only_causal(self) -> bool:
        """Whether this is the plain triangle, which fused kernels know by name."""
        return self.causal and self.keys is None and self.pairs is None and self.window is None and self.bias is None


EVERYTHING = Mask()
"""Every query sees every key."""
