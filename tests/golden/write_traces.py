"""Writes tests/golden/traces: captures of tiny random models of every kind, with all logits and all weights in the file.

Give `python tests/golden/write_traces.py` after a change that is meant to alter them, and then the same with
write_alignments.py, which reads them.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.inspection.capture import Capture, Request, capture
from sightline.inspection.pack import as_json, trace_bytes
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig, TransformerConfig

SEEDS = {
    "post-sinusoidal-relu": 4,
    "pre-sinusoidal-gelu": 182,
    "pre-rotary-swiglu-rms-grouped": 9,
    "post-learned-cosine": 51,
    "post-none-8-heads-untied": 8,
    "pre-rotary-cosine-multi-query-silu": 17,
    "recurrent-dot-two-heads": 15,
}
"""Of the random weights: chosen so that the translation has several tokens and an end."""
FOLDER = Path(__file__).resolve().parent / "traces"
SMALL = {"d_model": 8, "n_heads": 2, "n_encoder_layers": 1, "n_decoder_layers": 1, "max_len": 24}
SENTENCE = "bad cab"
VARIANTS: dict[str, dict[str, object]] = {
    "post-sinusoidal-relu": {"n_encoder_layers": 2},
    "pre-sinusoidal-gelu": {"norm_at": "pre", "feedforward": "gelu", "n_decoder_layers": 2, "n_heads": 1},
    "pre-rotary-swiglu-rms-grouped": {
        "norm_at": "pre",
        "position": "rotary",
        "feedforward": "swiglu",
        "norm": "rms",
        "n_heads": 4,
        "n_kv_heads": 2,
        "bias": False,
        "n_encoder_layers": 2,
    },
    "post-learned-cosine": {"position": "learned", "attention": "cosine", "n_decoder_layers": 2, "n_heads": 4},
    "post-none-8-heads-untied": {
        "position": "none",
        "d_model": 16,
        "n_heads": 8,
        "tie_embeddings": False,
        "share_embeddings": False,
        "output_bias": True,
    },
    "pre-rotary-cosine-multi-query-silu": {
        "norm_at": "pre",
        "position": "rotary",
        "attention": "cosine",
        "feedforward": "silu",
        "n_heads": 4,
        "n_kv_heads": 1,
        "share_embeddings": False,
    },
    "recurrent-dot-two-heads": {"kind": "recurrent", "attention": "dot", "d_state": 6, "n_decoder_layers": 2},
}


def bundle(variant: str, seed: int | None = None) -> Bundle:
    """A tiny model of random weights, the same each time, whose translations are not all alike."""
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=16), ["abcdefgh ab"] * 3, ["abcdefgh ab"] * 3)
    spec = {**SMALL, **({} if "kind" in VARIANTS[variant] else {"d_ff": 12}), **VARIANTS[variant]}
    family = RecurrentConfig if "kind" in spec else TransformerConfig
    config = family.model_validate(spec)
    torch.manual_seed(3)
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    generator = torch.Generator().manual_seed(SEEDS[variant] if seed is None else seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm" in name or "log_sharpness" in name or name.endswith("bias"):
                weight.add_(0.1 * noise)
            else:
                weight.copy_(noise * (0.15 if "embed" in name or name == "head.weight" else 0.45))
    decoding = DecodingSettings(max_len_ratio=0.0, max_len_extra=5, length_norm="average", length_penalty=1.0)
    return Bundle(BundleConfig(name=variant, model=config, decoding=decoding), model, tokenizer, "")


def captured(variant: str) -> Capture:
    """The capture of a beam search with that model. Its time is fixed."""
    found = capture(bundle(variant), Request(variant, SENTENCE, beam=3), full=True)
    return replace(found, manifest=replace(found.manifest, created="2026-01-01T00:00:00Z"))


def file_of(variant: str) -> bytes:
    """The file. Beside `manifest`, its metadata hold what the greedy search finds (`greedy`: a Decode)."""
    greedy = capture(bundle(variant), Request(variant, SENTENCE, method="greedy")).manifest.decode
    return trace_bytes(captured(variant), {"greedy": as_json(asdict(greedy))})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    for name in VARIANTS:
        data = file_of(name)
        (FOLDER / f"{name}.ttrace").write_bytes(data)
        size = int.from_bytes(data[:8], "little")
        manifest = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["manifest"])
        print(
            f"{name}: {len(data):,} bytes, header {size:,}",
            manifest["translation"],
            manifest["checks"],
            file=sys.stderr,
        )
