import pytest
import torch

from sightline.nn.dropout import Dropout


def test_the_share_of_zeros_is_the_rate_and_the_rest_is_scaled() -> None:
    torch.manual_seed(1)
    drop = Dropout(0.3)
    out = drop(torch.ones(1000, 1000))
    rate = 77 / 256
    assert abs((out == 0).float().mean().item() - rate) < 0.002
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / (1 - rate)))


def test_gradients_pass_where_the_input_passed() -> None:
    torch.manual_seed(1)
    x = torch.randn(64, 64, requires_grad=True)
    out = Dropout(0.5)(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), out.detach())


def test_the_same_seed_drops_the_same_elements() -> None:
    drop = Dropout(0.2)
    torch.manual_seed(5)
    first = drop(torch.ones(33))
    torch.manual_seed(5)
    assert torch.equal(drop(torch.ones(33)), first)


def test_evaluation_and_rate_zero_change_nothing() -> None:
    x = torch.randn(7)
    assert Dropout(0.0)(x) is x
    assert Dropout(0.9).eval()(x) is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_an_impossible_rate_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        Dropout(p)
