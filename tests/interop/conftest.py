"""Small bundles of every kind, whose translations are not the same token over and over."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig

LINES = [f"the {a} dog number {i} sees a {b} cat" for i, a in enumerate(("red", "big", "old")) for b in ("sad", "wet")]
SIZES: dict[str, Any] = {
    "d_model": 32,
    "n_heads": 4,
    "d_ff": 48,
    "n_encoder_layers": 2,
    "n_decoder_layers": 3,
    "max_len": 64,
}
RECURRENT: dict[str, Any] = {"d_model": 24, "d_state": 20, "n_heads": 2, "max_len": 64}
CONVOLUTIONAL: dict[str, Any] = {"d_model": 24, "n_encoder_layers": 2, "n_decoder_layers": 2, "max_len": 64}


@pytest.fixture
def make_bundle() -> Callable[..., Bundle]:
    """A bundle with these settings of the model."""

    def make(tags: tuple[str, ...] = (), **settings: Any) -> Bundle:
        joint = settings.get("share_embeddings", True)
        kind = TokenizerSettings(vocab_size=90, min_frequency=1, joint=joint)
        tokenizer = Tokenizer.train(kind, LINES, [line[::-1] for line in LINES] if not joint else LINES, tags)
        torch.manual_seed(3)
        config: ModelConfig
        if settings.get("kind") == "recurrent":
            config = RecurrentConfig(**{**RECURRENT, **settings})
        elif settings.get("kind") == "convolutional":
            config = ConvolutionalConfig(**{**CONVOLUTIONAL, **settings})
        else:
            config = TransformerConfig(**{**SIZES, **settings})
        model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(1.0 + torch.rand_like(p)).add_(0.05 * torch.randn_like(p))
        return Bundle(BundleConfig(name="small", model=config), model.eval(), tokenizer, "")

    return make
