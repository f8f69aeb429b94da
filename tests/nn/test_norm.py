import pytest
import torch
from torch import nn

from sightline.nn.norm import NORMS, LayerNorm


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_formats_gradients_are_summed_up_over_thousands_of_tokens(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, grad = 1.3 * torch.randn(4, 1000, 64) + 0.2, 0.1 * torch.randn(4, 1000, 64) + 0.03
    exact, half = NORMS[name](64).double(), NORMS[name](64).to(dtype)
    sources = [x.double().requires_grad_(), x.to(dtype).requires_grad_()]
    exact(sources[0]).backward(grad.double())
    half(sources[1]).backward(grad.to(dtype))
    pairs = [
        (sources[1].grad, sources[0].grad),
        *((a.grad, b.grad) for a, b in zip(half.parameters(), exact.parameters(), strict=True)),
    ]
    for found, wanted in pairs:
        assert found is not None and wanted is not None and found.dtype is dtype
        assert (found.double() - wanted).norm() < 0.01 * wanted.norm()


def test_in_half_formats_the_output_is_that_of_torch() -> None:
    x = torch.randn(3, 5, 16).bfloat16()
    norm = LayerNorm(16).bfloat16()
    assert torch.equal(norm(x), nn.functional.layer_norm(x, (16,), norm.weight, norm.bias))
