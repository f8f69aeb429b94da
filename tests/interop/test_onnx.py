"""ONNX: the same tokens from onnxruntime, under the same search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.bundle import Bundle
from sightline.decoding import DecodingSettings, beam_search
from sightline.errors import BundleError
from sightline.interop.onnx import OnnxModel, export_onnx
from sightline.nn.cores import CORES

VARIANTS: list[Any] = [
    pytest.param({"n_encoder_layers": 1, "n_decoder_layers": 2}, id="as published"),
    pytest.param(
        {"norm_at": "pre", "norm": "rms", "position": "rotary", "n_kv_heads": 2, "feedforward": "swiglu"},
        id="of today",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {"attention": "cosine", "position": "learned", "n_kv_heads": 1, "output_bias": True},
        id="cosine, learned",
        marks=pytest.mark.slow,
    ),
    *(
        pytest.param({"attention": name, "n_decoder_layers": 2}, id=name, marks=pytest.mark.slow)
        for name in ("additive", "location", "local", "hard")
    ),
    pytest.param({"kind": "recurrent"}, id="gated units", marks=pytest.mark.slow),
    *(
        pytest.param({"kind": "recurrent", **each}, id=", ".join(map(str, each.values())), marks=pytest.mark.slow)
        for each in (
            {"cell": "lstm", "n_encoder_layers": 2, "n_decoder_layers": 2, "residual": True, "layer_norm": True},
            {"cell": "elman", "bidirectional": False, "bridge": "copy", "attend": "after", "input_feeding": False},
            {"cell": "gru", "attend": "between"},
            {"cell": "lstm", "attend": "after", "attention": "general", "bridge": "mean", "output_bias": True},
            {"cell": "gru", "attend": "after", "n_decoder_layers": 2, "attention": "local", "bridge": "zero"},
            {"cell": "lstm", "attention": "none", "n_decoder_layers": 2, "share_embeddings": False},
            *({"attention": name} for name in sorted(set(CORES) - {"additive", "local", "general"})),
            {"attention": {"kind": "local", "predict": True}},
        )
    ),
    pytest.param({"kind": "convolutional"}, id="convolutions", marks=pytest.mark.slow),
    *(
        pytest.param(
            {"kind": "convolutional", **each},
            id="convolutional, " + ", ".join(f"{name} {value}" for name, value in each.items()),
            marks=pytest.mark.slow,
        )
        for each in (
            {"position": "none"},
            {"weight_norm": False},
            {"kernel_size": 5},
            {"kernel_size": 1, "n_decoder_layers": 1},
            {"n_heads": 2, "attention": "dot"},
            {"n_heads": 2, "attention": "local", "share_embeddings": False},
        )
    ),
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_the_same_tokens_for_any_number_of_sentences_of_any_length(
    make_bundle: Callable[..., Bundle], settings: dict[str, Any], tmp_path: Path
) -> None:
    exported = make_bundle(**settings)
    export_onnx(exported, tmp_path / "onnx")
    found = OnnxModel(tmp_path / "onnx")
    for sources in ([[5, 6, 7, 8, 9, 10, 11, 2], [12, 13, 2, 0, 0, 0, 0, 0]], [[14, 2]], [[9, 2], [8, 2], [7, 2]]):
        for search in (
            DecodingSettings(beam=3, n_best=3, max_len_ratio=1.0, max_len_extra=8),
            DecodingSettings(beam=1),
        ):
            src = torch.tensor(sources)
            ours, theirs = beam_search(exported.model, src, search), beam_search(found, src, search)
            assert [[h.tokens for h in each] for each in ours] == [[h.tokens for h in each] for each in theirs]
            for each, other in zip(ours, theirs, strict=True):
                assert [h.score for h in each] == pytest.approx([h.score for h in other], rel=1e-4)
    assert found.tokenizer.to_json() == exported.tokenizer.to_json()


def test_a_folder_that_holds_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no encoder\.onnx.*export onnx"):
        OnnxModel(tmp_path)
    for name in ("encoder.onnx", "decoder.onnx", "sightline.json", "sightline-tokenizer.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(BundleError, match="is damaged"):
        OnnxModel(tmp_path)
