"""When a step fails: where a loss or gradient that is not finite began, and which batch found no memory."""

from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import UserError
from sightline.tasks.task import Task
from sightline.training.state import RunState


class NonFiniteError(UserError):
    """The loss or the gradient is NaN or infinite."""


def explain_non_finite(
    model: nn.Module, working: nn.Module, task: Task, batches: list[Any], step: int, what: str
) -> NonFiniteError:
    """The error to raise: it names the step, the first module whose output is not finite, and the batch. `model` has the
    weights and gradients, `working` computes with them (see `WorkingCopy`).
    """
    bad_weights = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    bad_gradients = [
        name for name, p in model.named_parameters() if p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    module, batch = _first_bad_module(working, task, batches)
    if bad_weights:
        where = f"the weights {', '.join(bad_weights[:3])} are not finite"
    elif module is not None:
        where = f"the first output that is not finite is that of {module}"
    elif bad_gradients:
        where = f"the first gradients that are not finite are those of {', '.join(bad_gradients[:3])}"
    else:
        where = "with other dropout the same batch gives finite outputs"
    return NonFiniteError(
        f"The {what} is not finite at step {step}: {where}. The batch holds "
        f"{task.describe(batch)}. The last saved state is good and was kept. Try a lower train.lr, a longer "
        'train.warmup, train.clip = 1, or train.precision = "fp32".'
    )


def explain_out_of_memory(task: Task, batches: list[Any], state: RunState) -> UserError:
    """The error to raise where a step found no memory, not in the smallest pieces either: it names the step and the batch."""
    tried = "" if state.compiled else ", not even for one row of its batch at a time"
    remedy = (
        f"begin a new run with train.batch_tokens = {max(1, state.batch_tokens // 2)} and twice the train.accumulate, which "
        "learns the same"
        if state.compiled
        else "begin a new run with a smaller model or shorter sentences (data.max_len)"
    )
    return UserError(
        f"There is not enough memory for step {state.step + 1}{tried}. The batch holds {task.describe(batches[0])}. The last "
        f"saved state is good and was kept. Close other programs and go on, or {remedy}."
    )


def _first_bad_module(model: nn.Module, task: Task, batches: list[Any]) -> tuple[str | None, Any]:
    """The address of the first module, in the order of computation, that gives something not finite, and with which
    batch; without such a module, the first batch.
    """
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not found and not torch.isfinite(output).all():
                found.append(name)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            for batch in batches:
                if not torch.isfinite(task.loss(model, batch.to(device)).total):
                    return [*found, "head"][0], batch
    finally:
        for handle in hooks:
            handle.remove()
    return None, batches[0]
