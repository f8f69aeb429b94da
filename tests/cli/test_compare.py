"""`sightline compare`."""

import shutil
from pathlib import Path


def test_two_runs_become_a_page_and_markdown_and_the_verdict_is_said(
    sightline, trained: Path, recurrent_run: Path, tmp_path: Path
):
    result = sightline("compare", trained, recurrent_run, "--out", "report")
    assert result.status == 0, result.err
    assert "The highest BLEU is that of" in result.out and "compare.html" in result.out
    page = (tmp_path / "report" / "compare.html").read_text(encoding="utf-8")
    assert f"sightline compare {trained} {recurrent_run}" in page
    for said in ("The scores, and what they took", "分数与代价", "Which word comes from which?"):
        assert said in page
    assert {"compare.md", "compare.zh.md", "pictures"} <= {path.name for path in (tmp_path / "report").iterdir()}
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "report").rglob("*.json")}
    assert len(kept) == 2 + 6
    again = sightline("compare", trained, recurrent_run, "--out", "report")
    assert again.status == 0 and again.out == result.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "report").rglob("*.json")} == kept
    assert (tmp_path / "report" / "compare.html").read_text(encoding="utf-8") == page


def test_gold_alignments_add_error_rates_and_make_only_their_section_anew(
    sightline, trained: Path, recurrent_run: Path, tmp_path: Path
):
    (tmp_path / "a.src-tgt").write_text("a b ||| b a\n" * 101)
    (tmp_path / "a.gold").write_text("0-1 1-0\n" * 101)
    given = ("compare", trained, recurrent_run, "--out", "report")
    assert sightline(*given).status == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "report").rglob("*.json")}
    result = sightline(*given, "--gold", "a.gold")
    assert result.status == 0, result.err
    assert {path.name for path, time in made.items() if path.stat().st_mtime_ns != time} == {"alignment.json"}
    page = (tmp_path / "report" / "compare.html").read_text(encoding="utf-8")
    assert "Alignment error rate, one direction, 1 gold pairs" in page and "--gold a.gold" in page
    (tmp_path / "a.gold").write_text("0-0\n" * 101)
    assert (
        "a.gold line 1: '0-0' links a word before the first"
        in sightline(*given, "--gold", "a.gold", "--first", "1").err
    )
    assert "nothing.gold" in sightline(*given, "--gold", "nothing.gold").err


def test_what_cannot_be_compared_is_refused_in_a_sentence(
    sightline, trained: Path, run: Path, recurrent_run: Path, tiny: list[str], tmp_path: Path
):
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    log = unfinished / "log.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:-1]) + "\n")
    held = ("data.hold_out_valid=10", "data.hold_out_test=10", "data.split_seed=3")
    assert sightline("train", "copy", *tiny, *held, "--out", "split").status == 0
    for given, said in (
        ([trained], "two runs or more"),
        ([trained, trained], "given twice"),
        ([trained, tmp_path], "is not the folder of a run"),
        ([trained, "nothing"], "nothing is not the folder of a run"),
        ([trained, unfinished], f"sightline train {unfinished}"),
        ([trained, "split"], "different test sets"),
        ([trained, recurrent_run, "--to", "xx"], "no test sentences into xx"),
    ):
        result = sightline("compare", *given, "--out", "refused")
        assert result.status == 2 and said in result.err, given
        assert result.err.startswith("error: ") and result.err.count("\n") == 1
    assert not (tmp_path / "refused").exists()


def test_nothing_to_compare_is_a_mistake_of_usage(sightline):
    assert sightline("compare").status == 2
