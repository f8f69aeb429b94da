"""`sightline import`."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import UserError


def import_model(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a Marian (OPUS-MT) model as Hugging Face has it.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write.")],
) -> None:
    """Read a translator of Hugging Face's Marian and write it as a model of sightline, which translates the same.

    A model that cannot be carried over is refused, with the setting that prevents it.
    """
    from rich.console import Console

    from sightline.bundle import save_bundle
    from sightline.cli.display import say
    from sightline.interop.marian import import_marian

    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}: give that of a Marian model, with config.json and model.safetensors."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} exists already: give the name of a new folder.")
    bundle = import_marian(folder)
    save_bundle(out, bundle)
    to = f"--to {bundle.tokenizer.tags[0]} " if len(bundle.tokenizer.tags) > 1 else ""
    say(Console(), f'Written. Next:\n  sightline translate --model {out} {to}"your sentence"')
