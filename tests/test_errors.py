"""The suggestion at the end of an error."""

from __future__ import annotations

from sightline.errors import nearest


def test_the_most_similar_word_is_offered_whatever_its_case():
    assert nearest("warmpu", ["lr", "warmup", "wd"]) == " Did you mean 'warmup'?"
    assert nearest("ADAM", ["adam", "sgd"]) == " Did you mean 'adam'?"


def test_nothing_is_offered_when_nothing_is_similar():
    assert nearest("zebra", ["lr", "warmup"]) == ""
    assert nearest("zebra", []) == ""
