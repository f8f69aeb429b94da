"""Dropout whose mask costs next to nothing on a CPU.

`torch.nn.functional.dropout` draws one Bernoulli variable per element on one thread. Here eight elements share one 64-bit
draw of the same generator: each takes a byte and is kept when that byte reaches a threshold. The rate is therefore
rounded to a multiple of 1/256 and the scale uses the rounded rate, so that the expectation is exact.

The bytes are compared as numbers of the tensor's own type, which torch does a vector register at a time; truth values it takes
one by one.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn


def draw(shape: torch.Size, device: torch.device) -> Int8[Tensor, "..."]:
    """A random byte for each element, from the device's default torch generator, so that the run's random state covers it."""
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return words.view(torch.int8)[:count].view(shape)


def dropped(x: Float[Tensor, "..."], random: Int8[Tensor, "..."], threshold: int) -> Float[Tensor, "..."]:
    """`x` where its byte reaches the threshold, scaled by 1 / (1 - threshold/256), and 0 elsewhere."""
    return _kept(random, threshold, x.dtype).mul_(x).mul_(_scale(threshold))


def _kept(random: Int8[Tensor, "..."], threshold: int, kind: torch.dtype) -> Float[Tensor, "..."]:
    """1 where a byte reaches the threshold, and 0 elsewhere."""
    return random.to(kind).ge_(threshold - 128)


def _scale(threshold: int) -> float:
    return 256.0 / (256 - threshold)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        ctx.threshold, random = threshold, draw(x.shape, x.device)
        ctx.save_for_backward(random)
        return dropped(x, random, threshold)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (random,) = ctx.saved_tensors
        return dropped(grads[0], random, ctx.threshold), None


class _AddDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, h: Tensor, threshold: int) -> Tensor:
        ctx.threshold, random = threshold, draw(h.shape, h.device)
        ctx.save_for_backward(random)
        return torch.addcmul(x, _kept(random, threshold, h.dtype), h, value=_scale(threshold))

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        (random,) = ctx.saved_tensors
        return grads[0], dropped(grads[0], random, ctx.threshold), None


class _ReluDropped(torch.autograd.Function):
    """What is above zero in the output was above zero in the input, and was kept: nothing else is needed on the way back."""

    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        ctx.threshold = threshold
        y = torch.relu(x).mul_(_kept(draw(x.shape, x.device), threshold, x.dtype)).mul_(_scale(threshold))
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grads[0], y, 0).mul_(_scale(ctx.threshold)), None


class Dropout(nn.Module):
    """Zeroes each element with probability `p` while training and scales the others by 1 / (1 - p) (Srivastava et al.
    2014). `p` is rounded to a multiple of 1/256 on the CPU; a `p` above 0 never rounds to 0.

    Shapes: any -> the same. Raises ValueError unless 0 <= p < 1.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, not {p}")
        self.p = p
        self.threshold = 0 if p == 0 else min(255, max(1, round(p * 256)))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Drop elements of `x` while training; `x` itself otherwise."""
        if self._by_bytes(x):
            return _Drop.apply(x, self.threshold)
        return nn.functional.dropout(x, self.p, self.training) if self.p else x

    def add(self, x: Float[Tensor, "..."], h: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """X + dropout(h), in one pass on a CPU."""
        return _AddDropped.apply(x, h, self.threshold) if self._by_bytes(h) else x + self(h)

    def after_relu(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """dropout(relu(x)), of which a CPU keeps the result alone for the backward pass."""
        return _ReluDropped.apply(x, self.threshold) if self._by_bytes(x) else self(torch.relu(x))

    def by_steps(self, x: Float[Tensor, "b m"]) -> Callable[[Tensor], Tensor]:
        """What drops of the vectors of a sequence [b, m] that come one after another; `x` is like them."""
        return self

    def _by_bytes(self, x: Tensor) -> bool:
        return self.training and self.threshold > 0 and x.device.type == "cpu" and not torch.compiler.is_compiling()

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"p={self.p}"


class SharedDropout(Dropout):
    """Dropout that leaves out the same numbers at every position of a sequence (Gal and Ghahramani 2016): "variational"."""

    def forward(self, x: Float[Tensor, "b t m"]) -> Float[Tensor, "b t m"]:
        """Drop the same elements of each vector of a row while training."""
        mask = self.mask((x.shape[0], x.shape[2]), x)
        return x if mask is None else x * mask[:, None]

    def by_steps(self, x: Float[Tensor, "b m"]) -> Callable[[Tensor], Tensor]:
        """What drops the same elements of each of the vectors that come one after another."""
        mask = self.mask((x.shape[0], x.shape[1]), x)
        return lambda vector: vector if mask is None else vector * mask

    def add(self, x: Float[Tensor, "b t m"], h: Float[Tensor, "b t m"]) -> Float[Tensor, "b t m"]:
        """X + dropout(h)."""
        return x + self(h)

    def mask(self, shape: tuple[int, int], like: Float[Tensor, "..."]) -> Float[Tensor, "b m"] | None:
        """Zeros and scales, drawn anew, to multiply a row's vectors with; None if nothing is left out."""
        if not self.training or self.p == 0:
            return None
        return Dropout.forward(self, like.new_ones(shape))
