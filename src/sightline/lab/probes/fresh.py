"""Models that know nothing yet, and sentences that mean nothing: what most probes begin with."""

import copy
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from sightline.bundle import Bundle
from sightline.lab.parts import Said
from sightline.lab.size import size_of
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig
from sightline.models.sequence_to_sequence import AnyModel

Untrained = tuple[Said, ModelConfig]
"""A model that a probe makes itself, and what it is called."""
Trained = tuple[Said, Bundle]
"""A model that was trained, and what it is called."""
FIRST_WORD = 4
"""The first token that is not padding, begin, end or unknown."""


def fresh(config: ModelConfig, vocab_size: int, length: int, seed: int) -> AnyModel:
    """A model with its first weights, which the seed decides, for sentences of up to `length` tokens; without dropout, in
    evaluation mode. Torch's random state is as before.
    """
    dropouts = {name: 0.0 for name in type(config).model_fields if name.endswith("_dropout")}
    plain = config.model_copy(update={**dropouts, "max_len": max(length, config.max_len)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(plain, vocab_size, vocab_size).eval()


def in_double(model: AnyModel) -> AnyModel:
    """A copy that computes with float64, in which what is 1e-300 of something else is not yet zero; no weight wants a
    gradient.
    """
    return copy.deepcopy(model).double().requires_grad_(False).eval()


def random_words(rows: int, length: int, vocab_size: int, generator: torch.Generator) -> Int[Tensor, "b t"]:
    """Words drawn at random, none of them special."""
    return torch.randint(FIRST_WORD, vocab_size, (rows, length), generator=generator)


def one_way(config: ModelConfig) -> ModelConfig:
    """The same, read from the first word to the last only: what reads backwards too comes to the first word last, and
    then no word is farther than half a sentence.
    """
    return config.model_copy(update={"bidirectional": False}) if isinstance(config, RecurrentConfig) else config


def _recurrent(cell: str, attention: str, attend: str = "between") -> Callable[[int], ModelConfig]:
    given = {"cell": cell, "attention": attention, "attend": attend, "bidirectional": False}
    return lambda width: RecurrentConfig.model_validate({**given, "d_model": width})


def _transformer(width: int) -> ModelConfig:
    return TransformerConfig(
        d_model=width, d_ff=2 * width, n_heads=4, n_encoder_layers=2, n_decoder_layers=2, norm_at="pre"
    )


def _convolutional(width: int) -> ModelConfig:
    return ConvolutionalConfig(d_model=width, n_encoder_layers=3, n_decoder_layers=2)


CLASSICS: dict[str, tuple[Said, Callable[[int], ModelConfig]]] = {
    "elman": (Said("Elman RNN", "Elman 循环网络"), _recurrent("elman", "none")),
    "gru": (Said("GRU", "GRU"), _recurrent("gru", "none")),
    "lstm": (Said("LSTM", "LSTM"), _recurrent("lstm", "none")),
    "elman-additive": (Said("Elman RNN + additive attention", "Elman + 加性注意力"), _recurrent("elman", "additive")),
    "gru-additive": (Said("GRU + additive attention", "GRU + 加性注意力"), _recurrent("gru", "additive")),
    "lstm-general": (
        Said("LSTM + general attention", "LSTM + 双线性注意力"),
        _recurrent("lstm", "general", "after"),
    ),
    "conv": (Said("ConvS2S", "ConvS2S 卷积网络"), _convolutional),
    "transformer": (Said("Transformer", "Transformer"), _transformer),
}
"""Small systems by their names, made of a width; recurrent ones read from left to right."""


def classics(keys: Sequence[str], parameters: int, vocab_size: int) -> list[Untrained]:
    """Those of `CLASSICS`, each as wide as comes nearest to so many parameters. Widths are multiples of 8."""
    found = []
    for key in keys:
        name, make = CLASSICS[key]
        width = 8
        while size_of(make(width + 8), vocab_size) < parameters:
            width += 8
        nearest = min((width, width + 8), key=lambda w: abs(size_of(make(w), vocab_size) - parameters))
        found.append((name, make(nearest)))
    return found
