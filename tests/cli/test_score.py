"""`sightline score`: how probable given translations are."""

import json

import pytest


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "src").write_text("1 2\n3 4 5\n6\n")
    (tmp_path / "tgt").write_text("1 2\n5 4 3\n6 6 6 6\n")
    return ["--src", "src", "--tgt", "tgt"]


def test_a_line_for_each_pair_and_the_perplexity_of_all(sightline, trained, pairs):
    result = sightline("score", "--model", trained, *pairs)
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert result.status == 0 and len(rows) == 3 and all(len(row) == 3 for row in rows)
    assert all(float(log_prob) < 0 for _, log_prob, _ in rows)
    assert result.err.startswith("perplexity ") and f"of {sum(int(n) for *_, n in rows)} tokens" in result.err


def test_the_scores_are_those_of_the_translations_found(sightline, trained, pairs, tmp_path):
    found = [
        json.loads(line)
        for line in sightline("translate", "--model", trained, "--file", "src", "--json").out.splitlines()
    ]
    (tmp_path / "tgt").write_text("".join(f"{each['translation']}\n" for each in found))
    scored = [json.loads(line) for line in sightline("score", "--model", trained, *pairs, "--json").out.splitlines()]
    for one, other in zip(found, scored, strict=True):
        assert other["translation"] == one["translation"] and other["source"] == one["source"]
        assert other["log_prob"] == pytest.approx(sum(p for _, p in other["tokens"]), rel=1e-4)


@pytest.mark.parametrize(
    ("tgt", "words"),
    [
        ("1\n2\n", ["tgt has 2 lines and", "has more", "line by line"]),
        ("1\n2\n3\n4\n", ["src has 3 lines and", "has more"]),
        ("1 " * 200 + "\n2\n3\n", ["tokens on a side", "the model takes"]),
    ],
)
def test_what_cannot_be_scored_is_said(sightline, trained, pairs, tmp_path, tgt, words):
    (tmp_path / "tgt").write_text(tgt)
    result = sightline("score", "--model", trained, *pairs)
    assert result.status == 2 and all(word in result.err for word in words), result.err
    assert sightline("score", "--src", "none", "--tgt", "tgt", "--model", trained).status == 2
