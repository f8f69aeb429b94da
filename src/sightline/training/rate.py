"""How fast this machine trains a model, found by training it for a moment."""

import time

import torch

from sightline.models.build import ModelConfig, build_model
from sightline.training.devices import best_device, choose_precision, number_format, settle, usable_cores
from sightline.training.optim import clip, make_optimizer
from sightline.training.settings import TrainSettings

LENGTH = 16
"""Tokens of a sentence of the measurement, on each side."""
TOKENS = 1024
"""Target tokens of a step of the measurement, or the batch itself where that is smaller."""


def training_rate(model: ModelConfig, vocab_size: int, batch_tokens: int, seconds: float = 2.0) -> float:
    """Target tokens a second of training steps with such a model, on random tokens and without padding.

    Takes a first step that is not counted and then steps for `seconds`, at least one. Torch's random state is as before;
    threads are set as for a training.
    """
    device = best_device()
    settle(usable_cores())
    precision, _ = choose_precision(device)
    with torch.random.fork_rng():
        net = build_model(model, vocab_size, vocab_size).to(device)
        settings = TrainSettings(max_steps=1)
        optimizer = make_optimizer(net, settings)
        rows = max(1, min(batch_tokens, TOKENS if device.type == "cpu" else batch_tokens) // LENGTH)
        src, tgt = (torch.randint(3, vocab_size, (rows, LENGTH), device=device) for _ in range(2))

        def step() -> None:
            with number_format(precision, device):
                hidden = net.hidden(src, tgt)
                loss = net.head.loss(hidden.flatten(0, 1), tgt.flatten(), settings.label_smoothing)
            (loss / tgt.numel()).backward()
            clip(net, settings.clip)  # its norm is a number, so a GPU has done all of it
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        step()
        began, count = time.perf_counter(), 0
        while count < 1 or time.perf_counter() - began < seconds:
            step()
            count += 1
        return count * tgt.numel() / (time.perf_counter() - began)
