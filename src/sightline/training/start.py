"""From Python: a recipe by name, ready to train."""

from pathlib import Path

from sightline.training.run import Run, read_recipe, start_run


def load_run(recipe: str | Path, *settings: str, out: str | Path | None = None) -> Run:
    """A run of a recipe that comes with sightline or of a .toml file, prepared and ready for `fit`.

    `settings` are NAME=VALUE replacements, as on the command line; `out` is the run's folder, `runs/NAME` without it. A run
    that was stopped goes on where it was.

    Raises ConfigError naming the setting, DataError naming the file and line.
    """
    chosen = read_recipe(recipe, settings)
    return start_run(chosen, Path("runs") / chosen.name if out is None else out)
