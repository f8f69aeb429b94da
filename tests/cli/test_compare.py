"""`sightline compare`."""

import shutil
from pathlib import Path

import pytest

from .conftest import HELD, TINY, call


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent run on the test set of `trained`."""
    folder = tmp_path_factory.mktemp("trained") / "gru"
    settings = [each for each in TINY if not each.startswith("model.")]
    result = call(
        "train", "copy", *settings, *HELD, 'model={ kind = "recurrent", d_model = 16, max_len = 32 }', "--out", folder
    )
    assert result.status == 0, result.err
    return folder


def test_two_runs_become_a_page_and_markdown_and_the_verdict_is_said(sightline, trained: Path, other: Path, tmp_path: Path):
    result = sightline("compare", trained, other, "--out", "report")
    assert result.status == 0, result.err
    assert "The highest BLEU is that of" in result.out and "compare.html" in result.out
    page = (tmp_path / "report" / "compare.html").read_text(encoding="utf-8")
    for said in ("The scores, and what they took", "分数与代价", "Which word comes from which?", f"sightline compare {trained} {other}"):
        assert said in page
    assert {"compare.md", "compare.zh.md", "pictures"} <= {path.name for path in (tmp_path / "report").iterdir()}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "report").rglob("*.json")}
    assert len(kept) == 2 + 6
    again = sightline("compare", trained, other, "--out", "report")
    assert again.status == 0 and again.out == result.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "report").rglob("*.json")} == kept
    assert (tmp_path / "report" / "compare.html").read_text(encoding="utf-8") == page


def test_what_cannot_be_compared_is_refused_in_a_sentence(sightline, trained: Path, run: Path, other: Path, tmp_path: Path):
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    log = unfinished / "log.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:-1]) + "\n")
    settings = [each for each in TINY if not each.startswith("train.max_steps")]
    assert sightline("train", "copy", *settings, *HELD, "data.split_seed=3", "train.max_steps=2", "--out", "split").status == 0
    for given, said in (
        ([trained], "two runs or more"),
        ([trained, trained], "given twice"),
        ([trained, tmp_path], "is not the folder of a run"),
        ([trained, "nothing"], "nothing is not the folder of a run"),
        ([trained, unfinished], f"sightline train {unfinished}"),
        ([trained, "split"], "different test sets"),
        ([trained, other, "--to", "xx"], "no test sentences into xx"),
    ):
        result = sightline("compare", *given, "--out", "refused")
        assert result.status == 2 and said in result.err, given
        assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert not (tmp_path / "refused").exists()


def test_nothing_to_compare_is_a_mistake_of_usage(sightline):
    assert sightline("compare").status == 2
