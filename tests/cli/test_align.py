"""`sightline align`: Pharaoh's lines, and the error rate beside gold alignments."""

import pytest


@pytest.fixture
def files(tmp_path):
    (tmp_path / "src").write_text("1 2 3\n\n4 5\n")
    (tmp_path / "tgt").write_text("1 2 3\n\n4 5 6\n")
    (tmp_path / "gold").write_text("1-1 2-2 3p3\n\n1-1\n")
    return ["--src", "src", "--tgt", "tgt"]


def test_a_line_for_each_pair_and_the_error_rate(sightline, trained, files):
    result = sightline("align", "--model", trained, *files, "--gold", "gold", "--first", 1)
    lines = result.out.splitlines()
    assert result.status == 0 and len(lines) == 3 and lines[1] == ""
    assert [int(link.split("-")[1]) for link in sorted(lines[2].split(), key=lambda link: link.split("-")[1])] == [
        0,
        1,
        2,
    ]
    assert "read at 0r" in result.err and "alignment error rate" in result.err and "3 pairs" in result.err
    assert "read at 0:1w" in sightline("align", "--model", trained, *files, "--place", "0:1w").err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--place", "7"], ["--place 7", "layers from 0 to 0"]),
        (["--place", "0:1x"], ["--place 0:1x", "heads from 0"]),
        (["--symmetry", "both"], ["--symmetry both", "grow-diag"]),
        (["--gold", "gold"], ["gold line 1", "give --first 1"]),
        (["--gold", "src"], ["src line 1", "'1' is no link"]),
        (["--gold", "gold", "--first", 2], ["gold line 1", "'1-1' links a word before the first"]),
    ],
)
def test_what_cannot_be_aligned_is_said(sightline, trained, files, more, words):
    result = sightline("align", "--model", trained, *files, *more)
    assert (result.status == 2) == bool(words) and all(word in result.err for word in words), result.err


def test_files_of_different_lengths_are_refused(sightline, trained, files, tmp_path):
    (tmp_path / "tgt").write_text("1\n")
    result = sightline("align", "--model", trained, *files)
    assert result.status == 2 and "src has 3 lines and tgt has 1" in result.err


def test_a_recurrent_model_aligns_where_a_word_is_written_and_one_without_attention_says_why_not(
    sightline, recurrent, files
):
    found = sightline("align", "--model", recurrent("additive"), *files)
    assert found.status == 0 and "read at 0w" in found.err and len(found.out.splitlines()) == 3, found.err
    refused = sightline("align", "--model", recurrent("none"), *files)
    assert refused.status == 2 and "no attention" in refused.err and "Traceback" not in refused.err
