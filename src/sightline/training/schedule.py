"""The learning rate of each step."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
"""From the number of a step, counted from 1, to its factor of the peak learning rate."""


def inverse_sqrt(warmup: int, max_steps: int) -> Schedule:
    """Linear warm-up, then the inverse square root of the step (Vaswani et al. 2017, section 5.3); peak 1 at `warmup`."""
    warmup = max(1, warmup)
    return lambda step: min(step / warmup, math.sqrt(warmup / step))


def cosine(warmup: int, max_steps: int) -> Schedule:
    """Linear warm-up, then half a cosine down to a hundredth at `max_steps` (Loshchilov and Hutter 2017)."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        done = min(1.0, (step - warmup) / max(1, max_steps - warmup))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def constant(warmup: int, max_steps: int) -> Schedule:
    """Linear warm-up, then 1."""
    return lambda step: min(1.0, step / max(1, warmup))


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {
    "inverse_sqrt": inverse_sqrt,
    "cosine": cosine,
    "constant": constant,
}


def paper_peak(d_model: int, warmup: int) -> float:
    """The paper's peak learning rate, d_model^-0.5 warmup^-0.5 (Vaswani et al. 2017, equation 3 at step = warmup)."""
    return d_model**-0.5 * max(1, warmup) ** -0.5
