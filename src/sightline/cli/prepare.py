"""`sightline prepare`."""

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


def prepare(
    recipe: RecipeName = None,
    settings: Replaced = None,
    src: SourceFile = None,
    tgt: TargetFile = None,
    data: PairsFile = None,
    src_lang: SourceLanguage = "",
    tgt_lang: TargetLanguage = "",
    out: RunFolder = None,
) -> None:
    """Read, check, split and tokenise a corpus, and report on it. `train` does this by itself when needed."""
    from rich.console import Console

    from sightline.cli.display import prepared_with_progress, say
    from sightline.data.report import print_report
    from sightline.training.start import check_folder

    console = Console()
    chosen, folder, reasons = chosen_recipe(recipe, settings or [], src, tgt, data, src_lang, tgt_lang, out)
    for reason in reasons:
        say(console, f"  {reason}")
    check_folder(folder, chosen)
    prepared = prepared_with_progress(chosen, folder, console)
    print_report(prepared.report, console)
    say(console, f"Prepared in {folder / 'data'}. Next: the same command with train in the place of prepare.")
