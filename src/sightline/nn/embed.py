"""From what a modality is made of to [b, t, m]: tokens so far."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.nn.dropout import Dropout
from sightline.nn.position import At, Position


class TokenEmbedding(nn.Module):
    """A vector per token, times sqrt(d_model) or another `scale`, with positions and dropout (Vaswani et al. 2017, sections 3.4,
    3.5, 5.4). `std` is the spread of the first vectors before that; none: 1 / sqrt(d_model).
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        position: Position,
        dropout: float | Dropout = 0.0,
        scale: float | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.position = position
        self.dropout = dropout if isinstance(dropout, Dropout) else Dropout(dropout)
        self.scale = math.sqrt(d_model) if scale is None else scale
        with torch.no_grad():
            self.tokens.weight.normal_(0.0, d_model**-0.5 if std is None else std)

    def forward(self, ids: Int[Tensor, "b t"], at: At = 0) -> Float[Tensor, "b t m"]:
        """Tokens that stand at the positions `at`, `at + 1`, ... or each where `at` says."""
        return self.dropout(self.position(self.tokens(ids) * self.scale, at))
