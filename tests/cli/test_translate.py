"""`sightline translate`: arguments, files, standard input; plain, n-best and JSON."""

import json
import os
import subprocess
import sys

import pytest

LINES = ["1 2 3", "", "30 4", "5", "  ", "7 7 7 7"]


def test_arguments_are_translated_a_line_each(sightline, trained):
    result = sightline("translate", "1 2", "30 4 5", "--model", trained)
    assert result.status == 0 and result.err == "" and len(result.out.splitlines()) == 2


def test_arguments_file_and_standard_input_give_the_same_in_the_same_order(sightline, trained, tmp_path):
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in LINES))
    by_argument = sightline("translate", *LINES, "--model", trained).out
    by_file = sightline("translate", "--model", trained, "--file", "in.txt").out
    by_input = sightline("translate", "--model", trained, stdin="\n".join(LINES).encode()).out
    one_by_one = "".join(sightline("translate", line, "--model", trained).out for line in LINES if line)
    assert by_argument == by_file == by_input
    assert [line for line in by_file.split("\n") if line] == [line for line in one_by_one.split("\n") if line]


def test_the_name_of_a_file_given_as_a_text_is_noticed(sightline, trained, tmp_path):
    (tmp_path / "three.txt").write_text("1\n2\n3\n")
    result = sightline("translate", "--model", trained, "three.txt", "1 2 " * 2000)
    assert result.status == 0 and len(result.out.splitlines()) == 2
    assert (
        "note: three.txt is translated as a text; to translate the lines of that file: --file three.txt" in result.err
    )
    assert "note:" not in sightline("translate", "--model", trained, "1 2 3").err


def test_an_empty_line_stays_an_empty_line(sightline, trained):
    found = sightline("translate", "--model", trained, stdin=b"\n1 2\r\n\n \n3\n").out.split("\n")
    assert [bool(line) for line in found] == [False, True, False, False, True, False]
    assert sightline("translate", "--model", trained, stdin=b"").out == ""


def test_a_line_break_inside_an_argument_does_not_make_two_lines(sightline, trained):
    assert len(sightline("translate", "1 2\n3 4", "--model", trained).out.splitlines()) == 1


def test_python_and_the_command_line_translate_the_same(sightline, trained):
    import sightline as sl

    found = sightline("translate", *LINES, "--model", trained, "--beam", 3).out
    assert found == "".join(f"{line}\n" for line in sl.load(trained)(LINES, beam=3))


def test_output_takes_its_name_only_when_it_is_whole(sightline, trained, tmp_path, monkeypatch):
    (tmp_path / "in.txt").write_text("1 2\n3\n")
    (tmp_path / "out.txt").write_text("before")
    result = sightline("translate", "--model", trained, "--file", "in.txt", "--output", "out.txt")
    assert result.status == 0 and result.out == ""
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 2
    whole = (tmp_path / "out.txt").read_text()
    monkeypatch.setattr("sightline.cli.translate.WINDOW", 2)
    (tmp_path / "in.txt").write_bytes(b"9 9\n" * 4 + b"\xff\n")
    assert sightline("translate", "--model", trained, "--file", "in.txt", "--output", "out.txt").status == 2
    assert (tmp_path / "out.txt").read_text() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


def test_json_has_one_object_a_line(sightline, trained):
    result = sightline("translate", *LINES, "--model", trained, "--json", "--n-best", 2)
    records = [json.loads(line) for line in result.out.splitlines()]
    assert [record["source"] for record in records] == LINES
    for record in records:
        best = record["n_best"][0]
        assert record["translation"] == best["translation"] and record["score"] == best["score"]
        scores = [found["score"] for found in record["n_best"]]
        assert scores == sorted(scores, reverse=True)
    assert records[1]["translation"] == "" and len(records[0]["n_best"]) == 2
    assert "n_best" not in json.loads(sightline("translate", "1 2", "--model", trained, "--json").out)


def test_n_best_shows_the_line_and_the_score_of_each(sightline, trained):
    out = sightline("translate", "1 2", "", "2 1", "--model", trained, "--n-best", 3).out
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"] and all(len(row) == 3 for row in rows)
    for number in ("1", "3"):
        scores = [float(score) for line, score, _ in rows if line == number]
        assert scores == sorted(scores, reverse=True)


def test_decoding_settings_reach_the_search(sightline, trained, monkeypatch):
    seen = []
    from sightline.runtime import translator

    real = translator.translate
    monkeypatch.setattr(translator, "translate", lambda *given: seen.append(given[4]) or real(*given))
    sightline("translate", "1 2", "--model", trained, "--beam", 3, "--length-penalty", 0.25)
    assert (seen[0].beam, seen[0].length_penalty) == (3, 0.25)


def test_a_source_that_is_too_long_is_cut_with_a_warning(sightline, trained):
    result = sightline("translate", "1 " * 50, "--model", trained)
    assert result.status == 0 and "line 1 is longer than" in result.err


@pytest.mark.e2e
def test_a_process_answers_each_line_before_the_next_is_given(trained):
    command = [sys.executable, "-m", "sightline", "translate", "--model", str(trained)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in ("1 2 3\n", "\n", "4\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert bool(process.stdout.readline().strip()) == bool(line.strip())
        process.stdin.close()
        assert process.stdout.read() == "" and process.wait(60) == 0


def test_phrases_prefixes_samples_and_any_other_setting(sightline, trained):
    result = sightline(
        "translate", "1 2", "3", "--model", trained, "--prefix", "7", "--include", "8 9", "--exclude", "1"
    )
    assert result.status == 0 and result.err == ""
    for line in result.out.splitlines():
        assert line.startswith("7") and "8 9" in line and "1" not in line.split()
    draw = ["translate", "1 2 3", "--model", trained, "--sample", "--n-best", 4, "--set", "temperature=3.0"]
    one, other = sightline(*draw).out, sightline(*draw, "--set", "seed=1").out
    assert one == sightline(*draw).out != other and len(one.splitlines()) == 4
    result = sightline("translate", "1", "--model", trained, "--set", "temprature=2")
    assert result.status == 2 and "temprature" in result.err and "temperature" in result.err
    result = sightline("translate", "1", "--model", trained, "--include", " ")
    assert result.status == 2 and "is empty" in result.err


def test_several_models_translate_together(sightline, trained, run):
    alone = sightline("translate", *LINES, "--model", trained).out
    assert sightline("translate", *LINES, "--model", trained, "--model", trained).out == alone
    result = sightline("translate", "1", "--model", trained, "--model", run)
    if result.status == 2:
        assert "another vocabulary" in result.err and "train.init" in result.err


def test_a_file_that_was_stopped_goes_on_and_ends_the_same(sightline, trained, tmp_path, monkeypatch):
    lines = [f"{i % 30} {i % 7}" for i in range(40)]
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    command = ["translate", "--model", trained, "--file", "in.txt", "--resume", "--output", "out.txt"]
    sightline("translate", "--model", trained, "--file", "in.txt", "--output", "whole.txt")
    monkeypatch.setattr("sightline.cli.translate.WINDOW", 4)
    (tmp_path / "in.txt").write_bytes((tmp_path / "in.txt").read_bytes()[:-4] + b"\xff\n")  # stops it at the last line
    assert sightline(*command).status == 2 and not (tmp_path / "out.txt").exists()
    part = (tmp_path / "out.txt.part").read_bytes()
    assert 30 <= part.count(b"\n") < 40
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    result = sightline(*command)
    assert result.status == 2 and "another text, model or settings" in result.err
    about = json.loads((tmp_path / "out.txt.part.json").read_text())
    stat = (tmp_path / "in.txt").stat()
    about["file"][1] = [stat.st_size, stat.st_mtime_ns]
    (tmp_path / "out.txt.part.json").write_text(json.dumps(about, sort_keys=True, ensure_ascii=False))
    (tmp_path / "out.txt.part").write_bytes(part[: len(part) // 2])  # as a kill may leave it, in the middle of a line
    assert sightline(*command).status == 0
    assert (tmp_path / "out.txt").read_text() == (tmp_path / "whole.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt", "whole.txt"]
    result = sightline(*command, "--n-best", 2)
    assert result.status == 2 and "--n-best" in result.err
