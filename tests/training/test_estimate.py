import pytest
import torch

from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.training.estimate import MACHINES, estimate
from sightline.training.settings import TrainSettings

SMALL = {"d_model": 32, "n_heads": 4, "d_ff": 64, "n_encoder_layers": 3, "n_decoder_layers": 2}


@pytest.mark.parametrize(
    "more", [{}, {"norm_at": "pre"}, {"tie_embeddings": False}, {"tie_embeddings": False, "share_embeddings": False}]
)
def test_parameters_are_those_of_the_model(more: dict[str, object]) -> None:
    config = TransformerConfig.model_validate({**SMALL, **more})
    wanted = sum(p.numel() for p in build_model(config, 70, 70).parameters())
    assert estimate(config, 70, TrainSettings(), "fp32").parameters == wanted


def test_memory_grows_with_batch_layers_and_format_as_it_should() -> None:
    need = {
        (layers, precision): estimate(
            TransformerConfig.model_validate({**SMALL, "n_encoder_layers": layers}),
            70,
            TrainSettings(ema=0.9),
            precision,
        )
        for layers in (3, 6)
        for precision in ("fp32", "bf16")
    }
    small, deep, half = need[3, "fp32"], need[6, "fp32"], need[3, "bf16"]
    assert small.total(2000) - small.total(1000) == pytest.approx(1000 * small.activations, abs=2)
    assert deep.activations > 1.3 * small.activations and deep.flops > 1.3 * small.flops
    assert 0.4 * small.activations < half.activations < 0.9 * small.activations and half.weights > small.weights
    assert small.average == small.gradients == 4 * small.parameters and small.optimizer == 8 * small.parameters


def test_the_largest_batch_fits_and_a_larger_one_does_not() -> None:
    need = estimate(TransformerConfig.model_validate(SMALL), 70, TrainSettings(), "fp32")
    free = 4 << 30
    batch = need.largest(free)
    assert batch % 64 == 0 and need.total(batch) <= 0.85 * free < need.total(batch + 64)
    assert need.largest(1 << 20) == 0


def test_operations_are_six_for_each_parameter_and_token() -> None:
    """Kaplan et al. 2020, section 2.1, without what attention itself takes."""
    config = TransformerConfig.model_validate({**SMALL, "d_model": 128, "d_ff": 512})
    need = estimate(config, 5000, TrainSettings(), "fp32")
    assert need.flops == pytest.approx(6 * need.parameters, rel=0.1)


def test_more_or_better_machines_are_faster_and_random_numbers_are_untouched() -> None:
    before = torch.get_rng_state()
    need = estimate(TransformerConfig(), 32_000, TrainSettings(), "bf16")
    assert torch.equal(torch.get_rng_state(), before)
    rate = {m.name: m.count * 25_000 / need.seconds(m, 25_000) for m in MACHINES}
    assert rate["T4"] < rate["A100"] < rate["H100"] < rate["H200"] < rate["8 x H200"] < 8 * rate["H200"]
