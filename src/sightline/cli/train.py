"""`sightline train`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.cli import corpus

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.training.run import Run


def train(
    recipe: corpus.RecipeName = None,
    settings: corpus.Replaced = None,
    src: corpus.SourceFile = None,
    tgt: corpus.TargetFile = None,
    data: corpus.PairsFile = None,
    src_lang: corpus.SourceLanguage = "",
    tgt_lang: corpus.TargetLanguage = "",
    out: corpus.RunFolder = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what it would take, memory and time, and do nothing.")
    ] = False,
) -> None:
    """Train from a recipe, or from your own corpus with every setting derived from it.

    Ctrl-C saves; the same command goes on exactly where it stopped. On several GPUs:
    torchrun --nproc-per-node=N -m sightline train ...
    """
    from rich.console import Console

    from sightline.cli.display import TrainingDisplay, say, stages
    from sightline.cli.plan import print_plan
    from sightline.cli.report import print_report
    from sightline.training.processes import join

    processes = join()
    console = Console(quiet=not processes.first)
    given = None
    if processes.first:
        with stages(console) as progress:
            given = corpus.chosen_recipe(recipe, settings or [], src, tgt, data, src_lang, tgt_lang, out, progress)
    chosen, folder, reasons = processes.share(given)
    for reason in reasons:
        say(console, f"  {reason}")
    if plan:
        print_plan(chosen, console)
        return
    from sightline.training.loop import fit
    from sightline.training.start import start_run

    with stages(console) as progress:
        run = start_run(chosen, folder, progress)
    if run.state.step == 0:
        print_report(run.task.prepared.report, console)
    for note in run.notes:
        say(console, f"  {note}")
    if run.state.finished:
        say(console, f"{folder} is trained already. Next: sightline evaluate {folder}")
        return
    parameters = sum(p.numel() for p in run.model.parameters())
    where = f", going on from step {run.state.step}" if run.state.step else ""
    say(console, f"Training {parameters / 1e6:.1f} M parameters in {folder}{where}")
    with stopping(run), TrainingDisplay(run, console) as display:
        for step in fit(run):
            display.show(step)
    if not run.state.finished:
        say(console, f"Stopped and saved at step {run.state.step}. To go on: sightline train {folder}")
        raise typer.Exit(130)
    if processes.first:
        _summary(run, console)
    processes.leave()


def _summary(run: "Run", console: "Console") -> None:
    from sightline.cli.display import say
    from sightline.cli.evaluate import print_saved_scores

    console.print()
    print_saved_scores(run.folder, console)
    say(
        console,
        f'Saved in {run.folder}. Next:\n  sightline translate --model {run.folder} "your sentence"\n'
        f"  sightline evaluate {run.folder}",
    )


@contextmanager
def stopping(run: "Run") -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends the run after its step, saved; the second interrupts at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if run.stop_requested:
            raise KeyboardInterrupt
        run.stop_requested = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
