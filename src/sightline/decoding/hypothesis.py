"""What a search gives back."""

import math
from dataclasses import dataclass

from sightline.decoding.settings import DecodingSettings


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation as tokens."""

    tokens: list[int]
    """Without `bos` and `eos`."""
    score: float
    """`log_prob` divided by the norm of the length, and the coverage penalty if there is one: what the search compares."""
    log_prob: float
    """Natural logarithm of the probability: the sum of `token_log_probs`."""
    token_log_probs: list[float]
    """One for each token, and one more for the end of the sentence when `finished`."""
    finished: bool
    """False when the limit of the length came before the end of the sentence."""


def hypothesis(
    tokens: list[int],
    token_log_probs: list[float],
    finished: bool,
    settings: DecodingSettings,
    covered: float = 0.0,
) -> Hypothesis:
    """A hypothesis with its log-probability and its score; `covered` is what `coverage_penalty` counts: the sum over source
    tokens of the logarithm of the attention that each has had.
    """
    log_prob = math.fsum(token_log_probs)
    score = log_prob / settings.norm(max(1, len(token_log_probs)))
    return Hypothesis(tokens, score + settings.coverage_penalty * covered, log_prob, token_log_probs, finished)
