"""`sightline demo`."""

from pathlib import Path
from typing import Annotated

import typer

RECIPE = "tatoeba-en-zh-demo"
SENTENCES = ("I love you.", "Where is the station?", "我喜欢喝茶。")


def demo(
    minutes: Annotated[float, typer.Option(metavar="N", help="Minutes of training.")] = 2.0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")] = Path("runs/demo"),
) -> None:
    """Translate with the built-in model, train a small one on the bundled corpus, score it and translate with it."""
    from rich.console import Console

    from sightline.cli.display import say
    from sightline.cli.evaluate import print_saved_scores
    from sightline.cli.train import train
    from sightline.runtime.translator import load

    console = Console()

    say(console, '1. The built-in model (sightline translate "I love you."):\n')
    translator = load()
    for sentence in SENTENCES:
        say(console, f"   {sentence} -> {translator(sentence)}")
    for language in ("de", "fr"):
        say(console, f"   {SENTENCES[1]} -> {translator(SENTENCES[1], to=language)}  (--to {language})")
    say(
        console,
        f"\n2. A small model of your own, from the bundled English-Chinese corpus, for about {minutes:g} minutes\n"
        f"   (sightline train {RECIPE}). The longer it trains, the better it gets:\n",
    )
    if (out / "test.json").is_file():
        say(console, f"   It was trained before and lies in {out}. Delete that folder to see it trained again.")
        print_saved_scores(out, console)
    else:
        train(recipe=RECIPE, settings=[f"train.max_minutes={minutes}"], out=out)
    say(console, "\n3. The model you have trained:\n")
    own = load(out)
    for sentence in SENTENCES[:2]:
        say(console, f"   {sentence} -> {own(sentence)}")
    say(
        console,
        "\nWhat next:\n"
        "   sightline train --src corpus.en --tgt corpus.de --out runs/mine    your own corpus, no setting needed\n"
        "   sightline train tatoeba-en-zh                                      English-Chinese for an hour, both directions\n"
        f"   {f'sightline evaluate {out}':<66} scores with their signatures\n"
        f"   {f'sightline explore {out}':<66} see inside it, in the browser\n"
        "   sightline COMMAND --help                                           every option",
    )
