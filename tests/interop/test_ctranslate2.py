"""CTranslate2 loads what is exported, and translates the same in float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sightline.bundle import Bundle
from sightline.data.sources import CorpusSettings, read_pairs
from sightline.errors import ConfigError
from sightline.interop.ctranslate2 import export_ctranslate2
from sightline.runtime.translator import Translator, load

ctranslate2 = pytest.importorskip("ctranslate2", reason="CTranslate2 is a development extra")
TEXTS = ["the red dog", "a wet cat sees number 3", "dog dog dog", "old", "the big sad cat number 1 2 3 4 5"]
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "norms first": {"norm_at": "pre"},
    "swiglu, rms, no biases": {"norm_at": "pre", "feedforward": "swiglu", "norm": "rms", "bias": False},
    "learned, gelu, own embeddings": {
        "position": "learned",
        "feedforward": "gelu",
        "share_embeddings": False,
        "tie_embeddings": False,
    },
    "rotary": {"position": "rotary"},
    "grouped": {"n_kv_heads": 2},
    "no positions": {"position": "none"},
}


def sentences(count: int) -> list[str]:
    """English sentences that the built-in model has not seen."""
    rows = read_pairs(CorpusSettings(pairs="bundled:tatoeba-en-zh.test.tsv.gz"), Path())
    return list(dict.fromkeys(row.src for row in rows))[:: 1000 // count][:count]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_engine_gives_the_same_tokens(make_bundle: Callable[..., Bundle], variant: str, tmp_path: Path) -> None:
    bundle = make_bundle(("de", "en"), **VARIANTS[variant])
    export_ctranslate2(bundle, tmp_path / "exported")
    engine = ctranslate2.Translator(
        str(tmp_path / "exported"), compute_type="float32", inter_threads=1, intra_threads=1
    )
    names = bundle.tokenizer.names_src()
    sources = [[names[i] for i in ids[:-1]] for ids in bundle.tokenizer.encode_src(TEXTS, "de")]
    numbers = {name: i for i, name in enumerate(bundle.tokenizer.names_tgt())}
    ours = Translator(bundle, precision="fp32")
    banned = {"suppress_sequences": [["<pad>"], ["<s>"]], "min_decoding_length": 0}
    theirs = engine.translate_batch(sources, beam_size=1, max_decoding_length=20, **banned)
    found = ours.translate(TEXTS, "de", beam=1, max_len_ratio=0.0, max_len_extra=20)
    assert [each[0].hypothesis.tokens for each in found] == [
        [numbers[x] for x in each.hypotheses[0]] for each in theirs
    ]


@pytest.mark.parametrize("beam", [1, 4])
def test_the_built_in_model_gives_the_same_translations(beam: int, tmp_path: Path) -> None:
    ours = load(precision="fp32")
    export_ctranslate2(ours.bundle, tmp_path / "exported")
    engine = ctranslate2.Translator(
        str(tmp_path / "exported"), compute_type="float32", inter_threads=1, intra_threads=1
    )
    texts, tokenizer = sentences(40), ours.bundle.tokenizer
    names, numbers = tokenizer.names_src(), {name: i for i, name in enumerate(tokenizer.names_tgt())}
    sources = [[names[i] for i in ids[:-1]] for ids in tokenizer.encode_src(texts, "zh")]
    theirs = engine.translate_batch(sources, beam_size=beam, length_penalty=1.0, max_decoding_length=200)
    rule = {"beam": beam, "stop": "first", "length_norm": "average", "length_penalty": 1.0}
    found = ours.translate(texts, "zh", **rule, max_len_ratio=0.0, max_len_extra=200)
    assert [each[0].hypothesis.tokens for each in found] == [
        [numbers[x] for x in each.hypotheses[0]] for each in theirs
    ]


def test_the_folder_says_how_to_use_it_and_holds_the_tokenizer(
    make_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    export_ctranslate2(make_bundle(("de", "en")), tmp_path / "exported", "int8")
    assert (tmp_path / "exported" / "tokenizer.json").is_file()
    assert "<2de>" in (tmp_path / "exported" / "sightline.json").read_text()
    assert ctranslate2.Translator(str(tmp_path / "exported")).compute_type.startswith("int8")


def test_what_cannot_be_carried_over_is_named_and_nothing_is_written(
    make_bundle: Callable[..., Bundle], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"CTranslate2 has nothing that computes model.attention = 'cosine'"):
        export_ctranslate2(make_bundle(attention="cosine"), tmp_path / "exported")
    with pytest.raises(ConfigError, match="quantization 'int9'"):
        export_ctranslate2(make_bundle(), tmp_path / "exported", "int9")
    assert list(tmp_path.iterdir()) == []
