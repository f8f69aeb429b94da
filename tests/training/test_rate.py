import pytest
import torch

from sightline.models.config import TransformerConfig
from sightline.training import rate
from sightline.training.optim import make_optimizer
from sightline.training.settings import TrainSettings

MODEL = TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1)


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
    assert rate.training_rate(MODEL, 500, TrainSettings(batch_tokens=256), seconds) == 256
    assert clock[0] == 100 + elapsed
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("accumulate", "expected"), [(1, 8192 / (8 + 3)), (4, 4 * 8192 / (4 * 8 + 3))])
def test_the_optimizer_counts_once_a_step_however_few_tokens_are_timed(
    accumulate: int, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def later(seconds: float) -> None:
        clock[0] += seconds

    def slow(model: torch.nn.Module, *_: object) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.register_step_pre_hook(lambda *_: later(3.0))
        return optimizer

    monkeypatch.setattr(rate.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(rate, "clip", lambda *_: later(1.0))  # 1,024 tokens in a second, 8,192 in eight
    monkeypatch.setattr(rate, "make_optimizer", slow)
    settings = TrainSettings(batch_tokens=8192, accumulate=accumulate, precision="fp32")
    assert rate.training_rate(MODEL, 100, settings, 0.0) == pytest.approx(expected)


@pytest.mark.parametrize("vocab_size", [2, 4])
def test_a_model_of_short_sentences_few_words_and_small_batches_is_timed_too(vocab_size: int) -> None:
    assert (
        rate.training_rate(MODEL.model_copy(update={"max_len": 5}), vocab_size, TrainSettings(batch_tokens=3), 0.0) > 0
    )


def test_as_many_threads_are_timed_as_the_training_will_have() -> None:
    before = torch.get_num_threads()
    try:
        rate.training_rate(MODEL, 100, TrainSettings(batch_tokens=64, threads=1), seconds=0.0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_optimizer_that_will_be_used_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        rate,
        "make_optimizer",
        lambda model, settings, precision: (
            made.append(settings.optimizer) or make_optimizer(model, settings, precision)
        ),
    )
    rate.training_rate(MODEL, 100, TrainSettings(batch_tokens=64, optimizer="muon"), seconds=0.0)
    assert made == ["muon"]
