"""Dropout whose mask costs next to nothing on a CPU.

`torch.nn.functional.dropout` draws one Bernoulli variable per element on one thread. Here eight elements share one 64-bit
draw of the same generator: each takes a byte and is kept when that byte reaches a threshold. The rate is therefore
rounded to a multiple of 1/256 and the scale uses the rounded rate, so that the expectation is exact.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def keep_mask(shape: torch.Size, threshold: int, device: torch.device) -> Bool[Tensor, "..."]:
    """True where an element is kept: each independently with probability 1 - threshold/256.

    Draws from the device's default torch generator, so the run's random state covers it.
    """
    count = shape.numel()
    words = torch.empty((count + 7) // 8, dtype=torch.int64, device=device).random_(-(2**63), None)
    return (words.view(torch.uint8)[:count] >= threshold).view(shape)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, threshold: int) -> Tensor:
        keep = keep_mask(x.shape, threshold, x.device)
        ctx.scale = 256.0 / (256 - threshold)
        ctx.save_for_backward(keep)
        return torch.ops.aten.native_dropout_backward(x, keep, ctx.scale)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(grads[0], keep, ctx.scale), None


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
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p, training=True)
        return _Drop.apply(x, self.threshold)

    def extra_repr(self) -> str:
        """The rate, for `print(model)`."""
        return f"p={self.p}"
