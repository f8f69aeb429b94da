# pyright: reportPrivateImportUsage=false
"""Steps on a GPU that are recorded once and replayed from then on, as CUDA graphs: a step is then two calls of the processor
instead of thousands.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from sightline.data.batches import Batch
from sightline.tasks.task import Task
from sightline.training.working import Model, WorkingCopy

Result = TypeVar("Result")


class Recorded(Generic[Result]):
    """Work without arguments: done in the ordinary way the first time, recorded the second, replayed from then on.

    What it reads and writes must stay where it is. What it returns is overwritten by the next call.
    """

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work, self._called = work, False
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> Result:
        """Do it."""
        if not self._called:
            self._called = True
            present = torch.cuda.current_stream()
            self._stream.wait_stream(present)
            with torch.cuda.stream(self._stream):
                result = self._work()
            present.wait_stream(self._stream)
            return result
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
                self._result = self._work()
        self._graph.replay()
        return self._result


class ReplayedCopy(WorkingCopy[Model]):
    """A compiled working copy on a GPU, whose gradients and updates are replayed. All batches must be of one shape, as packed
    ones are, and the optimizer must keep its learning rate and its steps on the GPU, as those of `make_optimizer` do.
    """

    def __init__(self, model: Model, precision: str) -> None:
        super().__init__(model, precision, compiled=True)
        self._count = torch.ones((), device=next(model.parameters()).device)
        self._batch: Batch | None = None
        self._gradient: Recorded[Tensor] | None = None
        self._update: Recorded[Any] | None = None
        self._made: list[tuple[nn.Parameter, Tensor]] = []

    def gradient(self, task: Task, batch: Any, count: float | Tensor) -> Tensor:  # noqa: D102
        if self._batch is None or self._gradient is None:
            self._batch = batch.copy()
            self._gradient = Recorded(lambda: self._of_batch(task))
        else:
            self._batch.take(batch)
        self._count.fill_(count)
        earlier = [(p, p.grad.clone()) for p in self.trained.parameters() if p.grad is not None]
        total = self._gradient()
        for p, gradient in self._made:
            p.grad = gradient
        if earlier:  # of other batches of the same step
            kept, added = zip(*((p.grad, gradient) for p, gradient in earlier), strict=True)
            torch._foreach_add_(kept, added)
        return total

    def _of_batch(self, task: Task) -> Tensor:
        """The gradient of the batch at hand, and nothing else, in tensors of its own."""
        self.trained.zero_grad(set_to_none=True)
        total = super().gradient(task, self._batch, self._count)
        self._made = [(p, p.grad) for p in self.trained.parameters() if p.grad is not None]
        return total

    def update(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: D102
        if self._update is None:
            self._update = Recorded(optimizer.step)
        self._update()
        optimizer.zero_grad(set_to_none=True)


def at_work(model: Model, precision: str, *, compiled: bool) -> WorkingCopy[Model]:
    """The working copy that a run asks for."""
    return ReplayedCopy(model, precision) if compiled else WorkingCopy(model, precision)
