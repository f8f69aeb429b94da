import itertools

import pytest
import torch

from sightline.models.build import ModelConfig
from sightline.training.rate import training_rate


def test_the_tokens_of_the_timed_steps_are_counted_and_torchs_random_state_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = ModelConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)
    clock = itertools.count()
    monkeypatch.setattr(
        "sightline.training.rate.time.perf_counter", lambda: next(clock)
    )  # a second between any two looks
    before = torch.get_rng_state()
    # three steps of 256 tokens until a look says that more than 2.5 seconds are over, and one more look
    assert training_rate(model, 500, 256, seconds=2.5) == 3 * 256 / 4
    assert torch.equal(torch.get_rng_state(), before)
