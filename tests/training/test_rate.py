import pytest
import torch

from sightline.models.build import ModelConfig
from sightline.training import rate

MODEL = ModelConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)


@pytest.mark.parametrize(("seconds", "elapsed"), [(3.5, 4), (0.0, 1)])
def test_the_fastest_step_counts_and_the_first_is_not_timed(
    seconds: float, elapsed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def a_second_later(*_: object) -> None:
        clock[0] += 100.0 if clock[0] == 0 else 2.0 if clock[0] == 101 else 1.0  # the first takes long, as it does

    monkeypatch.setattr(rate, "choose_precision", lambda _: ("fp32", ""))
    monkeypatch.setattr(rate.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(rate, "clip", a_second_later)
    before = torch.get_rng_state()
    assert rate.training_rate(MODEL, 500, 256, seconds) == 256
    assert clock[0] == 100 + elapsed
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("vocab_size", [2, 4])
def test_a_model_of_short_sentences_few_words_and_small_batches_is_timed_too(vocab_size: int) -> None:
    assert rate.training_rate(MODEL.model_copy(update={"max_len": 5}), vocab_size, 3, seconds=0.0) > 0


def test_as_many_threads_are_timed_as_the_training_will_have() -> None:
    before = torch.get_num_threads()
    try:
        rate.training_rate(MODEL, 100, 64, seconds=0.0, threads=1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
