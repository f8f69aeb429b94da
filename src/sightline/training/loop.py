"""The training loop, as a generator: the caller's `for` body is the callback, `break` is early stopping."""

import itertools
import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sightline.data.ahead import ahead
from sightline.errors import out_of_memory
from sightline.files import locked
from sightline.training.devices import give_back_memory
from sightline.training.diagnose import NonFiniteError, explain_non_finite, explain_out_of_memory
from sightline.training.finish import finish, validate
from sightline.training.optim import clip, set_learning_rate
from sightline.training.replay import at_work
from sightline.training.run import Run
from sightline.training.state import RunState, random_states, restore_random_states
from sightline.training.working import WorkingCopy


@dataclass(frozen=True)
class Step:
    """What one optimiser step did."""

    index: int
    """Number of the step, counted from 1."""
    loss: float
    """The training loss per target token, in nats: label-smoothed cross-entropy and, where it is used, R-Drop's share."""
    tokens: int
    """Target tokens of the step, without padding."""
    tokens_per_second: float
    """Target tokens a second, without padding."""
    padding: float
    """Share of the tokens of both sides that was padding."""
    lr: float
    """Learning rate."""
    grad_norm: float
    """Norm of the whole gradient before clipping."""
    epoch: int
    """The epoch at hand, counted from 0."""
    validation: dict[str, float] = field(default_factory=dict)
    """Figures of the validation after this step, if there was one."""
    note: str = ""
    """What a person should know of this step; nothing of most."""
    samples: list[tuple[str, str, str]] = field(default_factory=list)
    """Source, translation and reference of some validation sentences, if there was a validation."""


def fit(run: Run) -> Generator[Step, None, None]:
    """Train until the recipe's end, early stopping, `run.stop_requested` or a `break`; yields after each step.

    Saves as the recipe says and when it is left. At the recipe's end the best weights are chosen on the validation set and
    written, with their scores on the test set, as a bundle into the run's folder.

    Raises UserError if the loss is not finite, with the step, the module and the batch named; what was saved stays.
    """
    state = run.state
    if state.finished:
        return
    run.model.train()
    lock = locked(run.folder / ".lock", "a run is being trained in this folder")
    with lock if run.processes.first else nullcontext():
        try:
            yield from _steps(run)
            if run.processes.first and not run.stop_requested:
                finish(run)
            run.state.finished = bool(run.processes.agree(run.state.finished))
            run.save()
        except GeneratorExit:  # the caller's `break`
            run.save()
            raise
        finally:
            run.recorder.close()


def _steps(run: Run) -> Iterator[Step]:
    state = run.state
    if state.step == 0:
        run.save()  # what was chosen for this machine holds from the first step on
    working = at_work(run.model, state.precision, compiled=state.compiled)
    while not _ended(run):
        for step in _epoch(run, working):
            yield step
            if _ended(run):
                break
        else:
            state.epoch, state.batch = state.epoch + 1, 0


def _ended(run: Run) -> bool:
    t, p = run.settings, run.state
    ended = (
        run.stop_requested
        or p.step >= t.max_steps
        or (t.patience is not None and p.worse >= t.patience)
        or (t.max_minutes is not None and p.seconds >= 60 * t.max_minutes)
    )
    return bool(run.processes.agree(ended))


def _epoch(run: Run, working: WorkingCopy) -> Iterator[Step]:
    """The rest of the epoch at hand."""
    state = run.state
    began = time.monotonic()
    rank, size = run.processes.rank, run.processes.size

    def made(numbered: tuple[int, Callable[[], Any]]) -> Any:
        """A batch of this process; in the place of one of another, None."""
        number, make = numbered
        return make().to(run.device) if number % size == rank else None

    with closing(ahead(enumerate(run.task.training_batches(state.epoch, state.batch), state.batch), made)) as batches:
        while held := list(itertools.islice(batches, run.settings.accumulate * size)):
            step = _step(run, working, [batch for batch in held if batch is not None], began)
            state.batch += len(held)
            step = _after(run, step)
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if run.processes.agree(bool(step.validation) or now - run.last_saved > 60 * run.settings.save_minutes):
                run.save()
            state.seconds += time.monotonic() - began
            yield step
            began = time.monotonic()


def _step(run: Run, working: WorkingCopy, batches: list[Any], began: float) -> Step:
    """One optimiser step over one or several batches; the gradient is that of their joint mean per token."""
    index = run.state.step + 1
    lr = run.processes.agree(run.learning_rate(index))
    set_learning_rate(run.optimizer, lr)
    count = run.processes.total(sum(batch.n_tgt for batch in batches))
    before = run.state.pieces
    while (total := _gradient(run, working, batches, count)) is None:
        _take_smaller_pieces(run, batches)
    note = "" if run.state.pieces == before else _SMALLER.format(step=index, pieces=run.state.pieces)
    run.processes.add_up(run.model, total)
    summed, norm = torch.stack((total, clip(run.model, run.settings.clip, run.state.loss_scale).double())).tolist()
    if not math.isfinite(summed):
        raise _non_finite(run, batches, "loss")
    if not math.isfinite(norm) and run.state.loss_scale > 1.0:
        note = _lower_scale(run, working)
    elif not math.isfinite(norm):
        raise _non_finite(run, batches, "gradient")
    else:
        working.update(run.optimizer)
        _raise_scale(run.state)
    if run.ema is not None:
        run.ema.update(run.model, index)
    run.state.step = index
    run.state.tokens += count
    seconds = time.monotonic() - began
    padding = sum(batch.padding for batch in batches) / max(1, len(batches))
    return Step(index, summed / count, count, count / seconds, padding, lr, norm, run.state.epoch, note=note)


_SMALLER = (
    "There was not enough memory for step {step}, which was taken in smaller pieces: each batch now passes in {pieces} parts, "
    "whose gradients are added up, which learns the same."
)


def _lower_scale(run: Run, working: WorkingCopy) -> str:
    """In fp16 a gradient was too large for the format: the step changes nothing, the next ones scale the loss half as much."""
    working.forget()
    run.state.loss_scale, run.state.unscaled = run.state.loss_scale / 2, 0
    return f"A gradient was too large for fp16: step left out, loss scaled by {run.state.loss_scale:g} from here on."


def _raise_scale(state: RunState) -> None:
    """In fp16, twice the scale after 2,000 steps without trouble (Micikevicius et al. 2018, section 3.2)."""
    state.unscaled += 1
    if state.precision == "fp16" and state.unscaled == 2000:
        state.loss_scale, state.unscaled = 2 * state.loss_scale, 0


def _gradient(run: Run, working: WorkingCopy, batches: list[Any], count: int) -> Tensor | None:
    """The loss of a step, summed, its gradient being left in the model; None, and all is as before, if there was no memory."""
    random = random_states()
    try:
        total = torch.zeros((), dtype=torch.float64, device=run.device)
        for batch in batches:
            for piece in batch.split(run.state.pieces) if run.state.pieces > 1 else [batch]:
                total += working.gradient(run.task, piece, count / run.state.loss_scale)
        return total
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
    working.forget()
    give_back_memory()
    restore_random_states(random)
    return None


def _take_smaller_pieces(run: Run, batches: list[Any]) -> None:
    """Raises UserError if batches cannot be taken in smaller pieces."""
    if run.state.compiled or run.state.pieces >= max(len(batch.src) for batch in batches):
        raise explain_out_of_memory(run.task, batches, run.state)
    run.state.pieces *= 2
    run.last_saved = -math.inf  # saved after this step, so that a run which goes on takes the same pieces


def _non_finite(run: Run, batches: list[Any], what: str) -> NonFiniteError:
    working = WorkingCopy(run.model, run.state.precision)  # not compiled: each module can be watched
    working.refresh()
    return explain_non_finite(run.model, working.model, run.task, batches, run.state.step + 1, what)


def _after(run: Run, step: Step) -> Step:
    """Record the step, and validate where the recipe says so."""
    settings = run.settings
    run.recorder.write(
        "train",
        step.index,
        {
            "loss": round(step.loss, 5),
            "lr": step.lr,
            "grad_norm": round(step.grad_norm, 4),
            "tokens_per_second": round(step.tokens_per_second),
            "padding": round(step.padding, 4),
            "epoch": step.epoch,
            **({"note": step.note} if step.note else {}),
        },
    )
    if step.index % settings.validate_every == 0 and run.processes.first:
        found = validate(run)
        step = replace(step, validation=found.figures, samples=found.samples)
    return step
