"""`sightline train`."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from sightline.cli.corpus import (
    PairsFile,
    RecipeName,
    Replaced,
    RunFolder,
    SourceFile,
    SourceLanguage,
    TargetFile,
    TargetLanguage,
    chosen_recipe,
)

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.training.run import Run


def train(
    recipe: RecipeName = None,
    settings: Replaced = None,
    src: SourceFile = None,
    tgt: TargetFile = None,
    data: PairsFile = None,
    src_lang: SourceLanguage = "",
    tgt_lang: TargetLanguage = "",
    out: RunFolder = None,
) -> None:
    """Train from a recipe, or from your own corpus with every setting derived from it.

    Ctrl-C saves; the same command goes on exactly where it stopped.
    """
    from rich.console import Console

    from sightline.cli.display import TrainingDisplay, prepared_with_progress, say
    from sightline.data.report import print_report

    console = Console()
    chosen, folder, reasons = chosen_recipe(recipe, settings or [], src, tgt, data, src_lang, tgt_lang, out)
    for reason in reasons:
        say(console, f"  {reason}")
    from sightline.training.loop import fit
    from sightline.training.start import check_folder, check_model, start_run

    check_folder(folder, chosen)
    check_model(chosen)
    prepared = prepared_with_progress(chosen, folder, console)
    run = start_run(chosen, folder)
    if run.position.step == 0:
        print_report(prepared.report, console)
    for note in run.notes:
        say(console, f"  {note}")
    if run.position.finished:
        say(console, f"{folder} is trained already. Next: sightline evaluate {folder}")
        return
    parameters = sum(p.numel() for p in run.model.parameters())
    where = f", going on from step {run.position.step}" if run.position.step else ""
    say(console, f"Training {parameters / 1e6:.1f} M parameters in {folder}{where}")
    with _stopping(run), TrainingDisplay(run, console) as display:
        for step in fit(run):
            display.show(step)
    if not run.position.finished:
        say(console, f"Stopped and saved at step {run.position.step}. To go on: sightline train {folder}")
        raise typer.Exit(130)
    _summary(run, console)


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
def _stopping(run: "Run") -> Iterator[None]:
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
