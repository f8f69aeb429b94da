"""`sightline shortlist`."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import UserError


def shortlist(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a trained model.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A corpus as `prepare` left it. Without it the one that the model was trained on."
        ),
    ] = None,
) -> None:
    """Learn which few target tokens each source token may be translated to, from the training data.

    `translate --shortlist` then computes only these for a sentence, instead of the whole vocabulary: faster, and nearly as good.
    Measure both with `evaluate` before you ship it.
    """
    from rich.console import Console

    from sightline.bundle import load_bundle
    from sightline.cli.display import say, stages
    from sightline.data.prepared import Prepared
    from sightline.tasks.shortlist import learn_shortlist

    console = Console()
    bundle, folder = load_bundle(model), data or model / "data"
    if not (folder / "meta.json").is_file():
        raise UserError(
            f"There is no prepared corpus in {folder}. Give the one that the model was trained on with --data: the folder `data` "
            f"in the run's folder, or what `sightline prepare ... train.init={model}` makes of the same files."
        )
    prepared = Prepared.open(folder)
    if prepared.tokenizer.to_json() != bundle.tokenizer.to_json():
        raise UserError(
            f"{folder} was prepared with another vocabulary than that of {model}. Prepare it with the model's own: "
            f"`sightline prepare ... train.init={model}`."
        )
    with stages(console) as progress:
        found = learn_shortlist(prepared.train(), bundle.tokenizer, progress)
    found.save(model)
    names = {bundle.tokenizer.tag_id(tag): f" into {tag}" for tag in bundle.tokenizer.tags}
    for tag, lexicon in found.lexicons.items():
        counts = f"{len(lexicon.tokens):,} translations of tokens{names.get(tag, '')}"
        say(console, f"  {counts}, and {len(lexicon.always):,} tokens for every sentence")
    say(console, f"Written to {model}. Next: sightline translate --shortlist --model {model}")
