"""How fast this machine trains a model, found by training it for a moment."""

import math
import time

import torch

from sightline.models.build import build_model
from sightline.models.config import ModelConfig
from sightline.tasks.translation import translation_loss
from sightline.training.devices import (
    best_device,
    choose_precision,
    give_back_memory,
    settle,
    usable_cores,
)
from sightline.training.optim import clip, make_optimizer
from sightline.training.settings import TrainSettings
from sightline.training.working import WorkingCopy

LENGTH = 16
"""Tokens of a sentence of the measurement, on each side."""
LEAST_VOCABULARY = 8
"""The special tokens and something to learn; that a real vocabulary is too small is said where it is made."""
TOKENS = {"cpu": 1024, "cuda": 8192}
"""Target tokens of a step of the measurement; those of the batch where they are fewer."""


def training_rate(model: ModelConfig, vocab_size: int, settings: TrainSettings, seconds: float = 2.0) -> float:
    """Target tokens a second of such a training: this model, these batches, this optimizer, on random tokens and without
    padding.

    Takes a first step that is not timed and then steps for `seconds`, at least one; the fastest counts. Torch's random state
    is as before; processor threads are set as for a training. A vocabulary too small to be one counts as the least.

    Raises ConfigError if there can be no such model.
    """
    device = best_device()
    settle(settings.threads or usable_cores())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        rate = _timed(model, max(vocab_size, LEAST_VOCABULARY), settings, seconds, device)
    give_back_memory()
    return rate


def _timed(
    config: ModelConfig, vocab_size: int, settings: TrainSettings, seconds: float, device: torch.device
) -> float:
    precision = settings.precision if settings.precision != "auto" else choose_precision(device)[0]
    model = build_model(config, vocab_size, vocab_size).to(device)
    optimizer, working = make_optimizer(model, settings, precision), WorkingCopy(model, precision)
    length = min(LENGTH, config.max_len)
    budget = TOKENS[device.type] if settings.batch_tokens == "auto" else settings.batch_tokens
    rows = max(1, min(budget, TOKENS[device.type]) // length)
    src, tgt = (torch.randint(3, vocab_size, (rows, length), device=device) for _ in range(2))

    def gradient() -> None:
        working.refresh()
        loss = translation_loss(working.model, src, tgt, tgt, settings.label_smoothing, settings.r_drop)
        (loss / tgt.numel()).backward()
        working.hand_over()
        clip(model, settings.clip)

    def update() -> None:
        working.update(optimizer)

    gradient()
    update()
    began, fastest = time.perf_counter(), [math.inf, math.inf]  # what else the machine does can only slow a step down
    while math.inf in fastest or time.perf_counter() - began < seconds:
        for k, part in enumerate((gradient, update)):
            start = time.perf_counter()
            part()
            if device.type == "cuda":
                torch.cuda.synchronize()
            fastest[k] = min(fastest[k], time.perf_counter() - start)
    of_a_step = max(tgt.numel(), budget * settings.accumulate)  # tokens for which there is one update
    return 1.0 / (fastest[0] / tgt.numel() + fastest[1] / of_a_step)
