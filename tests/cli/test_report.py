import io
from pathlib import Path

from rich.console import Console

from sightline.cli.report import print_report
from sightline.data.prepare import prepare
from sightline.data.report import Report
from sightline.data.settings import DataSettings
from sightline.data.tokenizers import TokenizerSettings


def _report(folder: Path) -> Report:
    """Of a corpus with an empty side, a pair that stands there twice, and a character that no token has."""
    pairs = [(f"The dog number {n} is here.", f"第{n}只狗在这里。") for n in range(300)]
    rows = [*pairs, ("", "x"), pairs[7], ("The rarest sign is Ж here.", "最少见的字。")]
    (folder / "train.tsv").write_text("".join(f"{src}\t{tgt}\n" for src, tgt in rows), encoding="utf-8")
    (folder / "test.tsv").write_text("A dog Ж [bold]here.\t一只狗。\n", encoding="utf-8")
    settings = DataSettings.model_validate(
        {"train": [{"pairs": "train.tsv"}], "test": {"pairs": "test.tsv"}, "drop_duplicates": False}
    )
    return prepare(settings, TokenizerSettings(vocab_size=400), folder / "out", folder).report


def test_the_report_reads_well_and_fits_its_width(tmp_path: Path) -> None:
    report = _report(tmp_path)
    for width in (100, 140):
        shown = io.StringIO()
        print_report(report, Console(file=shown, width=width))
        assert max(map(len, shown.getvalue().splitlines())) <= 100
        for word in (
            "dropped: one side is empty",
            "train.tsv:301",
            "kept, though the same pair again",
            "bpe, one vocabulary",
            "unknown tokens in training",
            "Ж",
            "▁The",
            "trained on",
        ):
            assert word in shown.getvalue(), word
