"""Small systems of every family that can be built, and a bundle of each."""

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.lab.parts import Said
from sightline.lab.probes.fresh import CLASSICS, Trained, Untrained
from sightline.models.build import FAMILIES, build_model
from sightline.models.config import ModelConfig

LINES = ["tom hit jerry .", "jerry saw tom", "a dog runs through the snow .", "the snow saw a dog"]


@pytest.fixture(scope="session")
def systems() -> list[Untrained]:
    made = [(name, make(16)) for name, make in CLASSICS.values()]
    return [(name, config) for name, config in made if type(config) in FAMILIES]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TokenizerSettings(vocab_size=60, min_frequency=1), LINES, LINES)


def bundle_of(config: ModelConfig, tokenizer: Tokenizer) -> Bundle:
    torch.manual_seed(5)
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    return Bundle(BundleConfig.model_validate({"model": config, "tgt_lang": "en"}), model, tokenizer, "")


@pytest.fixture(scope="session")
def trained(systems: list[Untrained], tokenizer: Tokenizer) -> list[Trained]:
    """Their weights are the first ones: what is tested does not depend on them."""
    return [(Said(name.en, name.zh), bundle_of(config, tokenizer)) for name, config in systems]
