"""The other half of a block: the same small network at every position."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.nn.dropout import Dropout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
}


class FeedForward(nn.Module):
    """W2 activation(W1 x) (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        self.up_proj = nn.Linear(d_model, d_ff)
        self.down_proj = nn.Linear(d_ff, d_model)
        self.activation = ACTIVATIONS[activation]
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "b t m"]) -> Float[Tensor, "b t m"]:
        """Each position by itself."""
        x = self.up_proj(x)
        x = self.dropout.after_relu(x) if self.activation is torch.relu else self.dropout(self.activation(x))
        return self.down_proj(x)


class Gated(nn.Module):
    """W2 (activation(Wg x) * W1 x), without biases; with "silu" this is SwiGLU (Shazeer 2020)."""

    def __init__(self, d_model: int, d_ff: int, activation: str = "silu", dropout: float = 0.0) -> None:
        super().__init__()
        self.up_proj = nn.Linear(d_model, d_ff, bias=False)
        self.gate_proj = nn.Linear(d_model, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d_model, bias=False)
        self.activation = ACTIVATIONS[activation]
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "b t m"]) -> Float[Tensor, "b t m"]:
        """Each position by itself."""
        return self.down_proj(self.dropout(self.activation(self.gate_proj(x)) * self.up_proj(x)))


FEEDFORWARDS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "relu": lambda d_model, d_ff, dropout: FeedForward(d_model, d_ff, "relu", dropout),
    "gelu": lambda d_model, d_ff, dropout: FeedForward(d_model, d_ff, "gelu", dropout),
    "silu": lambda d_model, d_ff, dropout: FeedForward(d_model, d_ff, "silu", dropout),
    "swiglu": lambda d_model, d_ff, dropout: Gated(d_model, d_ff, "silu", dropout),
}
