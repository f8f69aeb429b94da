"""`sightline evaluate`: the test set of a run, files of one's own, two systems."""

import json

import pytest


@pytest.fixture
def own(tmp_path):
    """Sources, two references and two systems' translations as files."""
    refs = [f"the {word} house is big and {word}" for word in ("red", "green", "old", "small", "blue")] * 4
    (tmp_path / "src").write_text("".join(f"das Haus {n} ist so\n" for n in range(20)))
    (tmp_path / "ref").write_text("".join(f"{ref}\n" for ref in refs))
    (tmp_path / "ref2").write_text("".join(f"{ref}\n" for ref in reversed(refs)))
    (tmp_path / "good").write_text("".join(f"{ref}\n" for ref in refs))
    (tmp_path / "bad").write_text("".join(f"{ref.replace('house is', 'dog was')}\n" for ref in refs))
    return ["--src", "src", "--ref", "ref"]


def test_a_run_is_scored_on_its_own_test_set(sightline, run):
    result = sightline("evaluate", run)
    assert result.status == 0, result.err
    for word in ("10 sentences", "BLEU", "chrF", "TER", "tokenised BLEU", "nrefs:1|", "BLEU by source length"):
        assert word in result.out
    assert "The recipe asks for BLEU >= 95: NOT reached" in result.out


def test_the_scores_are_those_that_training_wrote(sightline, run):
    trained = json.loads((run / "test.json").read_text())
    scores = json.loads(sightline("evaluate", run, "--json").out)[""]["scores"]
    assert scores == trained
    valid = json.loads(sightline("evaluate", run, "--split", "valid", "--json", "--beam", 1).out)[""]
    assert valid["scores"]["n_sentences"] == 10 and valid["expected"] == []


def test_no_figure_and_no_signature_is_cut_by_a_narrow_terminal(sightline, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    scores = json.loads(sightline("evaluate", run, "--json").out)[""]["scores"]
    lines = sightline("evaluate", run).out.splitlines()
    for name, figure, signature in (
        ("BLEU", "bleu", "bleu_signature"),
        ("chrF", "chrf", "chrf_signature"),
        ("TER", "ter", "ter_signature"),
        ("tokenised BLEU", "tokenised_bleu", "tokenised_signature"),
    ):
        (line,) = [line for line in lines if line.startswith(name.ljust(14)) and "nrefs" in line]
        assert f" {scores[figure]:.2f}  {scores[signature]}" in line


def test_a_file_of_translations_is_scored(sightline, own):
    scores = json.loads(sightline("evaluate", "good", *own, "--json").out)[""]["scores"]
    assert scores["bleu"] == pytest.approx(100) and scores["ter"] == 0
    scores = json.loads(sightline("evaluate", "bad", *own, "--ref", "ref2", "--json").out)[""]["scores"]
    assert 0 < scores["bleu"] < 100 and "nrefs:2" in scores["bleu_signature"]


def test_two_systems_are_compared(sightline, own):
    result = sightline("evaluate", "good", *own, "--against", "bad")
    assert result.status == 0 and "(100.00 here" in result.out and "p = 0.0" in result.out
    found = json.loads(sightline("evaluate", "bad", *own, "--against", "good", "--json").out)[""]["against"]
    assert found["difference"] < 0 and found["p_value"] < 0.05


def test_a_model_translates_sources_of_ones_own_and_the_output_is_kept(sightline, trained, tmp_path):
    (tmp_path / "numbers").write_text("1 2 3\n4 5\n6\n")
    result = sightline("evaluate", trained, "--src", "numbers", "--ref", "numbers", "--output", "hyp")
    assert result.status == 0 and "3 sentences" in result.out
    assert (tmp_path / "hyp").read_text() == sightline("translate", "--model", trained, "--file", "numbers").out


@pytest.mark.slow
def test_the_one_target_language_of_a_model_may_be_named(sightline, tsv):
    tiny = [
        "model.d_model=16",
        "model.d_ff=16",
        "train.max_steps=2",
        "train.batch_tokens=256",
        "train.tensorboard=false",
        "decoding.beam=1",
        "decoding.max_len_ratio=0",
        "decoding.max_len_extra=2",
    ]
    languages = ["--src-lang", "xx", "--tgt-lang", "de"]
    assert sightline("train", "--data", tsv, *languages, *tiny, "--out", "mine").status == 0
    assert "BLEU" in sightline("evaluate", "mine", "--to", "de").out
    assert sightline("evaluate", "mine", "--to", "fr").status == 2
