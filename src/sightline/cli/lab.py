"""`sightline lab`."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sightline.cli.compare import FirstOption, GoldOption, gold_words, write_report
from sightline.errors import ConfigError, nearest

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.cli.display import Stages
    from sightline.lab.experiment import Job
    from sightline.training.run import Run


class Laboratories(TyperGroup):
    """The commands under `sightline lab`; a name that there is not is answered with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: D102
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            names = sorted(self.commands)
            raise ConfigError(
                f"There is no laboratory '{args[0]}'.{nearest(args[0], names)} There are: {', '.join(names)}, as in: "
                f"sightline lab {names[-1]}"
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Laboratories,
    help="Experiments that train what they compare, and tell what they found on one page.",
    no_args_is_help=True,
)


@app.command("why-attention", short_help="The Transformer beside its predecessors.")
def why_attention(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE", help="Settings of all recipes, as in data.path=DIR or train.threads=2."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="In under ten minutes on two cores, from the bundled corpus.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the experiment; runs/why-attention, or with --quick runs/why-attention-quick.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", min=1, help="Runs of the headline systems.")] = None,
    minutes: Annotated[float | None, typer.Option(metavar="M", help="Minutes of training of each run.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="This system beside the Transformer; may be given several times."),
    ] = None,
    gold: GoldOption = None,
    first: FirstOption = 0,
) -> None:
    """Train the Transformer and what came before it, as large and for as long, and write a page of what is seen.

    The full experiment takes Multi30k's folder: data.path=DIR. What is trained already is not trained again. Ctrl-C saves;
    the same command goes on.
    """
    import shlex
    from dataclasses import replace

    from rich.console import Console

    from sightline.cli.display import say
    from sightline.lab import probing
    from sightline.lab.experiment import Experiment, Stopped, chosen
    from sightline.lab.probes.alignment import read_gold_pairs
    from sightline.lab.why_attention import FULL, NAME, QUICK, full_contenders, quick_contenders
    from sightline.lab.why_attention import why_attention as tell

    if minutes is not None and minutes <= 0:
        raise ConfigError(f"--minutes {minutes:g}: give more than none.")
    scale = QUICK if quick else FULL
    scale = replace(scale, minutes=minutes or scale.minutes, seeds=seeds or scale.seeds)
    folder = out or Path("runs") / (f"{NAME}-quick" if quick else NAME)
    given = [
        *(["--quick"] if quick else []),
        *(["--out", str(out)] if out else []),
        *(["--seeds", str(seeds)] if seeds else []),
        *(["--minutes", f"{minutes:g}"] if minutes else []),
        *(word for key in only or [] for word in ("--only", key)),
        *gold_words(gold, first),
        *(settings or []),
    ]
    console, pairs = Console(), None if gold is None else read_gold_pairs(gold, first)
    taking_part = chosen(quick_contenders() if quick else full_contenders(), only or [])
    experiment = Experiment(taking_part, scale, folder, settings or [])
    command = shlex.join(["sightline", "lab", NAME, *given])
    with Screen(console) as screen:
        try:
            report = tell(
                experiment, screen.train, probing.QUICK if quick else probing.FULL, command, pairs, screen.stage
            )
        except Stopped as stopped:
            say(console, f"{stopped} To go on: {command}")
            raise typer.Exit(130) from None
    write_report(report, folder, console)


@app.command("permutation", short_help="The same words in another order.")
def permutation(
    sentence: Annotated[
        str, typer.Argument(metavar="SENTENCE", help="Its first and last words are exchanged.")
    ] = "Tom hit Jerry",
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A trained model; may be given several times. Without it the built-in one.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="LANG", help="Target language, for models with several; the first of them without it."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")] = Path("runs/permutation"),
) -> None:
    """Exchange two words, and see what models with positions and without make of it: as numbers and as translations."""
    import shlex

    from rich.console import Console

    from sightline.bundle import load_bundle
    from sightline.lab.parts import Said
    from sightline.lab.permutation import NAME
    from sightline.lab.permutation import permutation as tell
    from sightline.runtime.translator import BUILTIN

    folders = model or [BUILTIN]
    trained = [(Said(name, name), load_bundle(folder)) for folder in folders for name in [folder.resolve().name]]
    tags = trained[0][1].tokenizer.tags
    words = ["sightline", "lab", NAME, sentence, *(w for each in model or [] for w in ("--model", str(each)))]
    words += [*(["--to", to] if to else []), "--out", str(out)]
    report = tell(trained, sentence, to or (tags[0] if tags else ""), shlex.join(words))
    write_report(report, out, Console())


class Screen:
    """What is shown while an experiment is carried out: either the stages of some work, or a training."""

    def __init__(self, console: "Console") -> None:
        self.console = console
        self._stages: Stages | None = None
        self._shown = ExitStack()

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._rest()

    def _rest(self) -> None:
        self._shown.close()
        self._stages = None

    def stage(self, description: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` is done."""
        from sightline.cli.display import stages

        if self._stages is None:
            self._stages = self._shown.enter_context(stages(self.console))
        self._stages(description, done, total)

    def train(self, run: "Run", job: "Job", number: int, count: int) -> None:
        """Train a run and show it, until it ends or Ctrl-C stops it."""
        from sightline.cli.display import TrainingDisplay, say
        from sightline.cli.train import stopping
        from sightline.training.diagnose import NonFiniteError
        from sightline.training.loop import fit

        self._rest()
        parameters = sum(p.numel() for p in run.model.parameters()) / 1e6
        minutes = run.settings.max_minutes
        each = f", {minutes:g} minutes" if minutes else ""
        say(self.console, f"Run {number} of {count}: {job} ({parameters:.2f} M parameters{each})")
        try:
            with stopping(run), TrainingDisplay(run, self.console) as display:
                for step in fit(run):
                    display.show(step)
        except NonFiniteError as error:
            if job.trial is not None:
                say(self.console, f"This trial diverged, and counts as one with an infinite loss. {error}")
            raise
