"""What a model is trained for, behind one small interface.

The steps of the loop know nothing else; validation and the choice of the weights that are kept (`training/finish.py`) still
ask for what only translation has, until a second task shows what they should ask for instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """A sum and what it was summed over, so that accumulation and several devices are exact."""

    total: Tensor
    """Summed over `count` items; a scalar with a gradient."""
    count: int
    """Target tokens (or whatever the task counts)."""


@runtime_checkable
class Task(Protocol):
    """The seam between the training loop and what is learned."""

    def batches(self, split: str, epoch: int, start: int = 0) -> Iterable[Any]:
        """Batches of a split; those of "train" are a function of the seed and `epoch`, from batch number `start` on.

        A batch has `to(device)`, `index` (which items), `n_tgt` and `padding` (see `data.batches.Batch`).
        """
        ...

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        """The training loss of a batch."""
        ...

    def describe(self, batch: Any) -> str:
        """An item of a batch, to be read by people when something is wrong with it."""
        ...

    def evaluate(self, model: nn.Module, split: str) -> dict[str, float]:
        """Named figures on a split: a loss, and the measure that matters."""
        ...

    def predict(self, model: nn.Module, raw: list[str]) -> list[str]:
        """Outputs for raw inputs."""
        ...
