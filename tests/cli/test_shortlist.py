"""`sightline shortlist`, and `translate --shortlist`."""

import os

import pytest

from sightline.decoding.shortlist import FILE
from sightline.runtime.native import native_library

needs_library = pytest.mark.skipif(
    native_library() is None and os.environ.get("SIGHTLINE_NATIVE") != "required",
    reason="the extra `native` is not installed: make native",
)


@needs_library
def test_it_is_learned_from_the_corpus_of_the_run_and_used(sightline, run):
    learned = sightline("shortlist", run)
    assert learned.status == 0 and "translations of tokens" in learned.out and (run / FILE).is_file()
    for decoding in ([], ["--beam", "1"], ["--sample"], ["--prefix", "1"]):
        found = sightline("translate", "--shortlist", "--model", run, *decoding, "1 2 3")
        assert found.status == 0 and len(found.out.splitlines()) == 1


@needs_library
def test_without_one_it_is_said_how_to_learn_it(sightline, run):
    result = sightline("translate", "--shortlist", "--model", run, "1 2")
    assert result.status == 2 and f"learn one with `sightline shortlist {run}`" in result.err


def test_a_format_that_it_is_not_for_is_said(sightline, run):
    assert sightline("shortlist", run).status == 0
    result = sightline("translate", "--shortlist", "--precision", "bf16", "--model", run, "1 2")
    assert result.status == 2 and "A shortlist is not to be had here" in result.err and "Leave it out" in result.err


def test_a_corpus_that_is_not_there_or_of_another_vocabulary_is_refused(sightline, run, tmp_path, tsv, tiny):
    result = sightline("shortlist", run, "--data", tmp_path)
    assert result.status == 2 and f"no prepared corpus in {tmp_path}" in result.err
    assert sightline("prepare", "--data", tsv, *tiny, "--out", tmp_path / "other").status == 0
    result = sightline("shortlist", run, "--data", tmp_path / "other" / "data")
    assert result.status == 2 and "another vocabulary" in result.err and "train.init" in result.err
    assert not (run / FILE).exists()
