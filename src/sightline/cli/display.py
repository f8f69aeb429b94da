"""What a person sees while data is prepared and a model is trained."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from sightline.training.loop import Step
    from sightline.training.run import Run


def say(console: Console, text: str) -> None:
    """Print a line as it is: no colours by guess, and never cut where a path or a command is to be copied."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def preparation(console: Console) -> Progress:
    """A bar per stage of the preparation."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


class Stages:
    """Turns `(description, done, total)` calls into bars; on a plain log, a line when a stage begins."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, int] = {}

    def __call__(self, description: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` is done."""
        if not self.tasks:
            self.progress.start()
        if description not in self.tasks:
            if not self.progress.console.is_terminal:
                say(self.progress.console, description)
            self.tasks[description] = self.progress.add_task(description, total=total)
        self.progress.update(self.tasks[description], completed=done, total=total)  # pyright: ignore[reportArgumentType]


@contextmanager
def stages(console: Console) -> "Iterator[Stages]":
    """Inside the `with` block, progress is shown of what is prepared; its bars are gone afterwards."""
    progress = preparation(console)
    progress.live.transient = True
    shown = Stages(progress)
    try:
        yield shown
    finally:
        if shown.tasks:  # what was never shown leaves no empty line
            progress.stop()


class TrainingDisplay:
    """Loss, tokens a second, time left and the last BLEU: a live line on a terminal, a plain log elsewhere."""

    def __init__(self, run: "Run", console: Console) -> None:
        self.run, self.console = run, console
        self.bleu = ""
        self.progress = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("", total=run.expected_steps(), completed=run.state.step, figures="starting")
        self.first_step, self.began = run.state.step, time.monotonic()
        self.last_line = 0.0
        self.loss: float | None = None
        self.rate: float | None = None

    def __enter__(self) -> "TrainingDisplay":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def show(self, step: "Step") -> None:
        """Show one step; figures are smoothed over the last twenty or so."""
        self.loss = step.loss if self.loss is None else self.loss + 0.05 * (step.loss - self.loss)
        rate = step.tokens_per_second
        self.rate = rate if self.rate is None else self.rate + 0.05 * (rate - self.rate)
        if step.note:
            self._line(step.note)
        if step.validation:
            self._validation(step)
        figures = f"loss {self.loss:.3f}  {self.rate:,.0f} tokens/s{self.bleu}"
        total = self.run.expected_steps()
        self.progress.update(self.task, completed=step.index, total=total, figures=figures)
        due = step.index == self.first_step + 1 or time.monotonic() - self.last_line > 15
        if not self.console.is_terminal and due:
            self.last_line = time.monotonic()
            self._line(f"step {step.index}/{total}  {figures}  {self._left(total - step.index)}")
        if step.index >= total:
            self._line("The last step. Now the best weights are scored, on the validation and the test set.")

    def _left(self, steps: int) -> str:
        each = (time.monotonic() - self.began) / max(1, self.run.state.step - self.first_step)
        minutes, seconds = divmod(int(each * steps), 60)
        return f"left {minutes // 60}:{minutes % 60:02d}:{seconds:02d}"

    def _validation(self, step: "Step") -> None:
        v = step.validation
        self.bleu = f"  BLEU {v['bleu']:.1f}"
        best = " (best yet)" if self.run.state.worse == 0 else f" (best {self.run.state.best_step})"
        several = "".join(f"  {k.removeprefix('bleu_')} {x:.1f}" for k, x in v.items() if k.startswith("bleu_"))
        self._line(f"validation at step {step.index}: BLEU {v['bleu']:.2f}{several}  loss {v['loss']:.3f}{best}")
        for src, translation, ref in step.samples:
            self._line(f"    {src}\n      -> {translation}\n      (reference: {ref})")
        if v["ignores_source"]:
            self._line(
                "    warning: the loss is the same with exchanged sources, so the model does not look at its source yet. "
                "If this stays, check that the two sides are aligned, and try a lower train.lr."
            )

    def _line(self, text: str) -> None:
        say(self.console, text)
        if not self.console.is_terminal:
            sys.stdout.flush()
