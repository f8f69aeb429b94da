"""`sightline export`: folders for other engines."""

import pytest


def test_the_built_in_model_is_written_for_either_engine(sightline, tmp_path):
    pytest.importorskip("ctranslate2", reason="CTranslate2 is a development extra")
    result = sightline("export", "ctranslate2", "--out", "ct2", "--quantization", "int8")
    assert (
        result.status == 0
        and "ctranslate2.Translator('ct2')" in result.out
        and (tmp_path / "ct2" / "model.bin").is_file()
    )
    result = sightline("export", "hugging-face", "--out", "hf")
    assert result.status == 0 and "MarianMTModel" in result.out and (tmp_path / "hf" / "model.safetensors").is_file()
    assert sightline("export", "hugging-face", "--out", "hf").err.startswith("error: --out hf exists already")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ctranslate"], ["no export for 'ctranslate'", "ctranslate2"]),
        (["hugging-face", "--quantization", "int8"], ["--quantization is for ctranslate2"]),
        (["hugging-face", "--model", "none"], ["no model folder none"]),
    ],
)
def test_what_cannot_be_exported_is_said(sightline, tmp_path, arguments, words):
    result = sightline("export", *arguments, "--out", "there")
    assert result.status == 2 and all(word in result.err for word in words), result.err
    assert not (tmp_path / "there").exists()
