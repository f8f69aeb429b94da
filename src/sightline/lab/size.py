"""How large models are, where some are to be as large as others."""

import torch
from torch import nn

from sightline.models.build import build_model
from sightline.models.config import ModelConfig


def counted(model: nn.Module) -> int:
    """The parameters by which models are made as large as one another: all but tables of learned positions, most of whose
    rows stand for places that no sentence reaches.
    """
    return sum(p.numel() for name, p in model.named_parameters() if not name.endswith("position.weight"))


def size_of(config: ModelConfig, vocab_size: int) -> int:
    """The same of a model that is not made yet, with one vocabulary of this size."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # no memory is taken
        return counted(build_model(config, vocab_size, vocab_size))
