"""transformers loads what is exported, and generates the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.bundle import Bundle
from sightline.decoding import DecodingSettings, greedy
from sightline.errors import ConfigError
from sightline.interop.hugging_face import export_hugging_face
from sightline.runtime.translator import load

transformers = pytest.importorskip("transformers", reason="Hugging Face transformers is a development extra")
TEXTS = ["the red dog", "a wet cat sees number 3", "dog dog dog", "old", "the big sad cat number 1 2 3 4 5"]
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "norms first": {"norm_at": "pre"},
    "gelu": {"feedforward": "gelu"},
    "own output": {"tie_embeddings": False},
}


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_it_gives_the_same_logits_and_tokens(make_bundle: Callable[..., Bundle], variant: str, tmp_path: Path) -> None:
    bundle = make_bundle(**VARIANTS[variant])
    name = export_hugging_face(bundle, tmp_path / "exported")
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "exported").eval()
    ours, tokenizer = bundle.model, bundle.tokenizer
    for ids in tokenizer.encode_src(TEXTS):
        src = torch.tensor([ids])
        tgt = torch.tensor([[1, *ids[:-1]]])
        expected = theirs(input_ids=src, decoder_input_ids=tgt).logits
        assert (ours(src, tgt) - expected).abs().max() <= 2e-5 * expected.abs().max()
        [found] = greedy(ours, src, DecodingSettings(beam=1, max_len_ratio=0, max_len_extra=12))
        out = theirs.generate(input_ids=src, num_beams=1, max_new_tokens=12, do_sample=False)[0, 1:].tolist()
        assert found.tokens == (out[: out.index(2)] if 2 in out else out)


@torch.no_grad()
def test_the_built_in_model_gives_the_same_translations(tmp_path: Path) -> None:
    ours = load(precision="fp32")
    name = export_hugging_face(ours.bundle, tmp_path / "exported")
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "exported").eval()
    texts = [
        "I love you.",
        "Where is the station?",
        "He goes to work by bus every day.",
        "Tom has two children, a boy and a girl.",
    ]
    rule = {"beam": 4, "stop": "first", "length_norm": "average", "length_penalty": 1.0}
    for text, [best] in zip(texts, ours.translate(texts, "zh", **rule), strict=True):
        src = torch.tensor(ours.bundle.tokenizer.encode_src([text], "zh"))
        out = theirs.generate(input_ids=src, num_beams=4, length_penalty=1.0, early_stopping=True, max_new_tokens=60)[
            0, 1:
        ].tolist()
        assert best.hypothesis.tokens == out[: out.index(2)]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"attention": "cosine"}, "model.attention = 'cosine'"),
        ({"position": "rotary"}, "model.position = 'rotary'"),
        ({"n_kv_heads": 1}, "model.n_kv_heads = 1"),
        ({"norm": "rms", "norm_at": "pre"}, "model.norm = 'rms'"),
        ({"feedforward": "swiglu"}, "model.feedforward = 'swiglu'"),
    ],
)
def test_what_cannot_be_carried_over_is_named(
    make_bundle: Callable[..., Bundle], settings: dict[str, Any], name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=name):
        export_hugging_face(make_bundle(**settings), tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []
