"""Dropout whose mask costs next to nothing on a CPU.

`torch.nn.functional.dropout` draws one Bernoulli variable per element on one thread. Here eight elements share one 64-bit
draw of the same generator: each takes a byte and is kept when that byte reaches a threshold. The rate is therefore
rounded to a multiple of 1/256 and the scale uses the rounded rate, so that the expectation is exact.

The bytes are compared as numbers of the tensor's own type, which torch does a vector register at a time; truth values it takes
one by one.
"""

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
    return random.to(x.dtype).ge_(threshold - 128).mul_(x).mul_(256.0 / (256 - threshold))


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
        if not self.training or self.threshold == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return nn.functional.dropout(x, self.p, training=True)
        return _Drop.apply(x, self.threshold)

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"p={self.p}"
