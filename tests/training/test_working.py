import pytest
import torch

from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.cores import AttentionCore, masked_softmax
from sightline.nn.mask import Mask
from sightline.tasks.translation import translation_loss
from sightline.training.working import WorkingCopy


@pytest.fixture
def model() -> EncoderDecoder:
    torch.manual_seed(2)
    return build_model(
        TransformerConfig(d_model=16, n_heads=2, d_ff=32, n_encoder_layers=1, n_decoder_layers=1), 20, 20
    )


def gradients(model: EncoderDecoder) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def backward(working: WorkingCopy[EncoderDecoder], tokens: torch.Tensor) -> None:
    translation_loss(working.model, tokens, tokens, tokens).backward()
    working.hand_over()


def test_in_float32_the_model_itself_works(model: EncoderDecoder) -> None:
    assert WorkingCopy(model, "fp32").model is model


def test_in_bf16_the_blocks_compute_in_it_and_the_embeddings_are_the_models_own(model: EncoderDecoder) -> None:
    working = WorkingCopy(model, "bf16").model
    assert {p.dtype for p in working.encoder.parameters()} == {torch.bfloat16}
    assert working.head.weight is model.head.weight and model.head.weight.dtype == torch.float32
    tokens = torch.randint(3, 20, (2, 4))
    assert working(tokens, tokens).dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.float32} and model(tokens, tokens).dtype == torch.float32


def test_a_core_whose_weights_are_float32_whatever_it_is_given_trains_in_bf16(model: EncoderDecoder) -> None:
    class Biased(AttentionCore):
        def weights(self, q: torch.Tensor, k: torch.Tensor, mask: Mask) -> torch.Tensor:
            return masked_softmax(q @ k.mT + torch.zeros(q.shape[-2], k.shape[-2]), mask)

    model.encoder.get_submodule("0.self_attn").core = Biased()
    backward(WorkingCopy(model, "bf16"), torch.randint(3, 20, (2, 4)))
    assert len(gradients(model)) == len(list(model.parameters()))


def test_steps_too_small_for_bf16_add_up(model: EncoderDecoder) -> None:
    working = WorkingCopy(model, "bf16")
    name = "encoder.0.self_norm.weight"  # ones, whose next neighbour in bf16 is 1.0078
    for _ in range(100):
        with torch.no_grad():
            model.get_parameter(name).add_(0.0002)
        working.refresh()
    assert working.model.get_parameter(name).float().mean().item() == pytest.approx(1.02, abs=0.004)


def test_gradients_of_several_batches_add_up_and_are_kept_in_float32_only(model: EncoderDecoder) -> None:
    working = WorkingCopy(model.eval(), "bf16")
    first, second = torch.randint(3, 20, (2, 3, 5))
    apart = []
    for tokens in (first, second):
        model.zero_grad()
        backward(working, tokens)
        apart.append(gradients(model))
    model.zero_grad()
    for tokens in (first, second):
        backward(working, tokens)
    for name, total in gradients(model).items():
        assert total.dtype == torch.float32
        torch.testing.assert_close(total, apart[0][name] + apart[1][name])
    assert all(p.grad is None for p in working.model.encoder.parameters())
