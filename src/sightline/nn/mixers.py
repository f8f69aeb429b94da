"""What may stand in attention's place: layers that mix the positions of a sequence, with the mask and the cache it would have."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.nn.mask import Mask


class LastInputs:
    """What a causal convolution remembers between decoding steps: as many inputs as its kernel is wide, less one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.held: Float[Tensor, "b w m"] | None = None

    def extend(self, new: Float[Tensor, "b t m"]) -> Float[Tensor, "b wt m"]:
        """The inputs that came before, zeros where none did, and the `new` ones."""
        before = new.new_zeros(new.shape[0], self.size, new.shape[2]) if self.held is None else self.held
        whole = torch.cat((before, new), dim=1)
        self.held = whole[:, new.shape[1] :]
        return whole

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the batch rows named by `index`, in that order."""
        if self.held is not None:
            self.held = self.held[index]


class GatedConvolution(nn.Module):
    """A convolution over the positions of a sequence, half of whose outputs gate the other half (Dauphin et al. 2017; Gehring et
    al. 2017, section 3.2): v = a sigmoid(b).

    A position sees `kernel_size` of them: itself in the middle, or at the end where the mask is causal. Padding is zero to it, as
    is what lies outside. With `weight_norm` each output has a direction and a length (Salimans and Kingma 2016, section 2).

    Weights begin so that outputs vary as much as inputs, of which `dropout` leaves out some (section 3.5 and appendix A).
    They are [2 m, kernel_size * m]: the positions stand side by side and take one matrix product, which on a CPU is no slower
    than torch's convolution, and saves two transpositions.

    Raises ValueError for an even kernel under a mask that is not causal.
    """

    def __init__(self, d_model: int, kernel_size: int, weight_norm: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        seen = kernel_size * d_model
        self.weight = nn.Parameter(torch.empty(2 * d_model, seen).normal_(0.0, math.sqrt(4 * (1 - dropout) / seen)))
        self.bias = nn.Parameter(torch.zeros(2 * d_model))
        self.length = nn.Parameter(self.weight.detach().norm(dim=1)) if weight_norm else None

    def cache(self) -> LastInputs:
        """What `forward` may be given to go on step by step."""
        return LastInputs(self.kernel_size - 1)

    def forward(self, x: Float[Tensor, "b t m"], mask: Mask, cache: LastInputs | None = None) -> Float[Tensor, "b t m"]:
        """Each position after a look at its neighbours. Of a mask, `causal` and `keys` count; a cache is for causal ones."""
        length = x.shape[1]
        if mask.keys is not None:
            x = x * mask.keys[:, :, None].to(x.dtype)
        if mask.causal:
            x = (self.cache() if cache is None else cache).extend(x)
        elif self.kernel_size % 2:
            x = nn.functional.pad(x, (0, 0, self.kernel_size // 2, self.kernel_size // 2))
        else:
            raise ValueError(f"a kernel of {self.kernel_size} positions has no middle: give {self.kernel_size + 1}")
        seen = torch.cat([x[:, i : i + length] for i in range(self.kernel_size)], dim=-1)
        return nn.functional.glu(nn.functional.linear(seen, self._weight(), self.bias), dim=-1)

    def _weight(self) -> Float[Tensor, "f g"]:
        if self.length is None:
            return self.weight
        norm = torch.linalg.vector_norm(
            self.weight, dim=1, keepdim=True, dtype=torch.promote_types(self.weight.dtype, torch.float32)
        )
        return self.weight * (self.length[:, None] / norm).to(self.weight.dtype)
