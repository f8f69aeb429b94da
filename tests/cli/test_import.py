"""`sightline import`: what cannot be read is said. That what can be read translates the same: `tests/interop/test_marian.py`."""

import pytest


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["There is no folder there", "config.json"]),
        ({}, ["config.json cannot be read"]),
        ({"config.json": '{"model_type": "t5"}'}, ["of type 't5'", "marian"]),
        ({"config.json": "[]"}, ["config.json is damaged"]),
    ],
)
def test_what_cannot_be_read_is_said(sightline, tmp_path, content, words):
    if content is not None:
        (tmp_path / "there").mkdir()
        for name, text in content.items():
            (tmp_path / "there" / name).write_text(text)
    result = sightline("import", "there", "--out", "mine")
    assert result.status == 2 and all(word in result.err for word in words), result.err
    assert not (tmp_path / "mine").exists()
