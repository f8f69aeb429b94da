import pytest
import torch

from sightline.models.build import ModelConfig
from sightline.training import rate

MODEL = ModelConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)


@pytest.mark.parametrize(("seconds", "steps"), [(2.5, 3), (0.0, 1)])
def test_steps_are_timed_but_for_the_first(seconds: float, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def a_second_later(*_: object) -> None:
        clock[0] += 100.0 if clock[0] == 0 else 1.0  # the first step takes long, as it does

    monkeypatch.setattr(rate, "choose_precision", lambda _: ("fp32", ""))
    monkeypatch.setattr(rate.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(rate, "clip", a_second_later)
    before = torch.get_rng_state()
    assert rate.training_rate(MODEL, 500, 256, seconds) == 256
    assert clock[0] == 100 + steps
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_of_short_sentences_and_small_batches_is_timed_too() -> None:
    assert rate.training_rate(MODEL.model_copy(update={"max_len": 5}), 4, 3, seconds=0.0) > 0
