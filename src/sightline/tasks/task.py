"""What a model is trained for, behind one small interface: all that the training loop, validation and the choice of the
weights that are kept ask for. (Only the bundle that a run writes still asks for what translation has.)
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn


@dataclass(frozen=True)
class Loss:
    """A sum and what it was summed over, so that accumulation and several devices are exact."""

    total: Tensor
    """Summed over `count` items; a scalar with a gradient."""
    count: int
    """Target tokens (or whatever the task counts)."""


@dataclass(frozen=True)
class Evaluation:
    """What a look at a split found."""

    figures: dict[str, float]
    """`loss` and the measures that matter, by name; `train.best_by` names one of them."""
    samples: list[tuple[str, str, str]] = field(default_factory=list)
    """Input, output and reference of some items, to be read by people."""


class Scores(Protocol):
    """All measures of a test set: a dataclass of plain values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def summary(self) -> str:
        """All of them in a line of a card, each with what says how it was computed."""
        ...


@runtime_checkable
class Task(Protocol):
    """The seam between the training loop and what is learned."""

    def batches(self, split: str, epoch: int, start: int = 0) -> Iterable[Any]:
        """Batches of a split; those of "train" are a function of the seed and `epoch`, from batch number `start` on.

        A batch has `to(device)`, `split(count)`, `index` (which items), `n_tgt` and `padding` (see `data.batches.Batch`).
        """
        ...

    def training_batches(self, epoch: int, start: int = 0) -> Iterable[Callable[[], Any]]:
        """What makes each of the batches of "train", for one of several processes, which calls only those that are its own."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Loss:
        """The training loss of a batch."""
        ...

    def describe(self, batch: Any) -> str:
        """How large a batch is, and an item of it, to be read by people when something is wrong with it."""
        ...

    def evaluate(self, model: nn.Module, split: str, *, final: bool) -> Evaluation:
        """Figures and samples of a split, as quickly as a validation along the way should be or, if `final`, as the recipe
        says that the model is used. The model must be in evaluation mode.
        """
        ...

    def scores(self, model: nn.Module, split: str) -> Mapping[str, Scores]:
        """All measures of a split, by target language or whatever parts the task has ("" if it has none); empty if the
        split has no items. The model must be in evaluation mode.
        """
        ...

    def predict(self, model: nn.Module, raw: list[str]) -> list[str]:
        """Outputs for raw inputs."""
        ...
