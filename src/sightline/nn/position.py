"""Where a token stands. Attention alone does not know order; each scheme here tells it in its own way."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

At = int | Int[Tensor, "#b t"]
"""Where embeddings stand: the position of the first of each row, the others after it, or the position of each."""


class Position(nn.Module):
    """The seam: a scheme may add to the embeddings, turn queries and keys, or both. This one does neither ("none")."""

    def __init__(self, d_model: int, max_len: int, n_heads: int) -> None:
        super().__init__()
        self.d_model, self.max_len, self.n_heads = d_model, max_len, n_heads

    turns_heads = False
    """Whether `rotate` does anything."""

    def forward(self, x: Float[Tensor, "b t m"], at: At = 0) -> Float[Tensor, "b t m"]:
        """Embeddings that stand at `at`, with what the scheme adds to them."""
        return x

    def rotate(self, x: Float[Tensor, "b h t d"], at: At = 0) -> Float[Tensor, "b h t d"]:
        """Queries or keys that stand at `at`, as the scheme turns them."""
        return x


def sinusoids(length: int, d_model: int) -> Float[Tensor, "t m"]:
    """PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(same) (Vaswani et al. 2017, section 3.5)."""
    rate = torch.exp(torch.arange(0, d_model, 2, dtype=torch.float64) * (-math.log(10000.0) / d_model))
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[:, :d_model].float()


class Sinusoidal(Position):
    """Fixed sines and cosines added to the embeddings (Vaswani et al. 2017, section 3.5). Any length: the table grows."""

    table: Tensor

    def __init__(self, d_model: int, max_len: int, n_heads: int) -> None:
        super().__init__(d_model, max_len, n_heads)
        self.register_buffer("table", sinusoids(max_len, d_model), persistent=False)

    def forward(self, x: Tensor, at: At = 0) -> Tensor:  # noqa: D102
        end = x.shape[1] + (at if isinstance(at, int) else 0)  # no sentence is longer than its row
        if end > self.table.shape[0]:
            self.table = sinusoids(2 * end, self.d_model).to(self.table)
        return x + (self.table[at:end] if isinstance(at, int) else self.table[at]).to(x.dtype)


class Learned(Position):
    """A trained vector per position, added to the embeddings (Gehring et al. 2017, section 3.1).

    Raises ValueError beyond `max_len`, which was never trained.
    """

    def __init__(self, d_model: int, max_len: int, n_heads: int) -> None:
        super().__init__(d_model, max_len, n_heads)
        self.weight = nn.Parameter(torch.randn(max_len, d_model) * d_model**-0.5)

    def forward(self, x: Tensor, at: At = 0) -> Tensor:  # noqa: D102
        if not isinstance(at, int):
            return x + self.weight[at]
        if at + x.shape[1] > self.max_len:
            raise ValueError(
                f"{at + x.shape[1]} positions, but learned positions end at max_len = {self.max_len}; "
                "shorten the text, or train with a larger model.max_len"
            )
        return x + self.weight[at : at + x.shape[1]]


def turned(x: Float[Tensor, "b h t d"], angles: Float[Tensor, "*#bht half 2"]) -> Float[Tensor, "b h t d"]:
    """Neighbouring pairs of numbers, turned by the angles whose cosine and sine are given."""
    cos, sin = angles.to(x.dtype).unbind(-1)
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Rotary(Position):
    """Queries and keys turned by an angle that grows with the position, so that their product depends on the distance
    (Su et al. 2021, section 3.2). Neighbouring pairs of a head are turned together.
    """

    turns_heads = True
    angles: Tensor

    def __init__(self, d_model: int, max_len: int, n_heads: int) -> None:
        super().__init__(d_model, max_len, n_heads)
        if (d_model // n_heads) % 2:
            raise ValueError(f"rotary positions need an even head size, not {d_model // n_heads}")
        self.register_buffer("angles", self._angles(max_len), persistent=False)

    def _angles(self, length: int) -> Float[Tensor, "t half 2"]:
        table = sinusoids(length, self.d_model // self.n_heads).unflatten(-1, (-1, 2))
        return table.flip(-1)  # cosine, sine

    def rotate(self, x: Tensor, at: At = 0) -> Tensor:  # noqa: D102
        end = x.shape[2] + at if isinstance(at, int) else int(at.max()) + 1
        if end > self.angles.shape[0]:
            self.angles = self._angles(2 * end).to(self.angles)
        return turned(x, self.angles[at:end] if isinstance(at, int) else self.angles[at][:, None])


POSITIONS: dict[str, type[Position]] = {
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "none": Position,
}
