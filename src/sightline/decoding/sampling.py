"""Translations drawn at random, by the probabilities that a model gives."""

import hashlib
import random
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.phrases import Constraint
from sightline.decoding.protocol import Decodable
from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import Choose, walk


def sample(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    settings: DecodingSettings,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
    """`n_best` random translations of each sentence, in the order of `src`; the most probable first, equals among them.

    Tokens are drawn from what `candidates` leaves. The scores are the model's own, without `temperature`. What is drawn depends
    on `seed` and the sentence's tokens alone, not on the batch.

    Raises ValueError if a constraint has phrases to include.
    """
    if any(constraint is not None and constraint.include for constraint in constraints or ()):
        raise ValueError("sampling cannot promise phrases to be included: search with a beam")
    count = settings.n_best
    choose = at_random(model, src, settings)
    wide = None if constraints is None else [constraint for constraint in constraints for _ in range(count)]
    found = walk(model, src.repeat_interleave(count, dim=0), settings, wide, choose)
    groups = [found[i : i + count] for i in range(0, len(found), count)]
    return [sorted(group, key=lambda each: -each.score) for group in groups]


def at_random(model: Decodable[Any], src: Int[Tensor, "b s"], settings: DecodingSettings) -> Choose:
    """The choice of `sample`, for `n_best` rows of each sentence."""
    generators = [
        _generator(settings.seed, [token for token in row if token != model.pad_id], k)
        for row in src.tolist()
        for k in range(settings.n_best)
    ]

    def choose(log_probs: Tensor, rows: list[int]) -> Tensor:
        drawn = torch.tensor([generators[row].random() for row in rows], dtype=torch.float64, device=log_probs.device)
        return draw(candidates(log_probs, settings), drawn)

    return choose


def candidates(log_probs: Float[Tensor, "n vocab"], settings: DecodingSettings) -> Float[Tensor, "n vocab"]:
    """The probabilities to draw from: with `temperature`, and zero for what `top_k`, then `top_p` of the rest, then `min_p` leave
    out; of equals the lower number is kept. They need not add up to 1.
    """
    p = torch.softmax(log_probs.double() / settings.temperature, dim=1)
    if settings.top_k == 0 and settings.top_p == 1.0 and settings.min_p == 0.0:
        return p
    ordered, places = p.sort(dim=1, descending=True, stable=True)
    if settings.top_k:
        ordered[:, settings.top_k :] = 0.0
    if settings.top_p < 1.0:
        before = ordered.cumsum(dim=1) - ordered
        ordered = ordered.masked_fill(before >= settings.top_p * ordered.sum(dim=1, keepdim=True), 0.0)
    ordered = ordered.masked_fill(ordered < settings.min_p * ordered[:, :1], 0.0)
    return torch.zeros_like(p).scatter(1, places, ordered)


def draw(weights: Float[Tensor, "n vocab"], drawn: Float[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The token at which the running sum of a row's weights passes `drawn` (from 0 to below 1) of their total."""
    sums = weights.cumsum(dim=1)
    index = torch.searchsorted(sums, (drawn * sums[:, -1])[:, None], right=True)[:, 0]
    last = (
        (weights > 0).long().cumsum(dim=1).argmax(dim=1)
    )  # the first place with the whole count: the last token possible
    return torch.minimum(index, last)


def _generator(seed: int, tokens: list[int], number: int) -> random.Random:
    key = hashlib.blake2b(repr((seed, tokens, number)).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(key, "little"))
