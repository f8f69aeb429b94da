"""`sightline prepare`."""

from sightline.cli import corpus


def prepare(
    recipe: corpus.RecipeName = None,
    settings: corpus.Replaced = None,
    src: corpus.SourceFile = None,
    tgt: corpus.TargetFile = None,
    data: corpus.PairsFile = None,
    src_lang: corpus.SourceLanguage = "",
    tgt_lang: corpus.TargetLanguage = "",
    out: corpus.RunFolder = None,
) -> None:
    """Read, check, split and tokenise a corpus, and report on it. `train` does this by itself when needed."""
    from rich.console import Console

    from sightline.cli.display import say, stages
    from sightline.cli.report import print_report
    from sightline.training.recipe import prepare_run
    from sightline.training.start import check_folder, initialised

    console = Console()
    with stages(console) as progress:
        chosen, folder, reasons = corpus.chosen_recipe(
            recipe, settings or [], src, tgt, data, src_lang, tgt_lang, out, progress
        )
    for reason in reasons:
        say(console, f"  {reason}")
    check_folder(folder, chosen)
    with stages(console) as progress:
        prepared = prepare_run(initialised(chosen, folder), folder, progress)
    print_report(prepared.report, console)
    say(console, f"Prepared in {folder / 'data'}. Next: the same command with train in the place of prepare.")
