import pytest
import torch
from torch.nn.functional import cross_entropy

import sightline.nn.heads as heads
from sightline.nn.heads import VocabularyHead


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 70, 10_000])
def test_the_chunked_loss_and_its_gradients_are_those_of_cross_entropy(
    smoothing: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", chunk)
    torch.manual_seed(1)
    head = VocabularyHead(23, 8)
    hidden = torch.randn(11, 8, requires_grad=True)
    targets = torch.randint(0, 23, (11,))
    (head.loss(hidden, targets, smoothing) * 0.37).backward()
    assert hidden.grad is not None and head.weight.grad is not None
    mine = (hidden.grad.clone(), head.weight.grad.clone(), head.loss(hidden, targets, smoothing).detach())
    hidden.grad = head.weight.grad = None
    plain = cross_entropy(head(hidden), targets, reduction="sum", label_smoothing=smoothing)
    (plain * 0.37).backward()
    torch.testing.assert_close(mine, (hidden.grad, head.weight.grad, plain.detach()))


def test_the_loss_in_bfloat16_stays_near_that_in_float32() -> None:
    torch.manual_seed(1)
    head = VocabularyHead(50, 16)
    hidden, targets = torch.randn(40, 16, requires_grad=True), torch.randint(0, 50, (40,))
    exact = head.loss(hidden, targets, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = head.loss(hidden, targets, 0.1)
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, exact, rtol=0.01, atol=0.0)


def test_the_loss_of_no_tokens_is_zero() -> None:
    head = VocabularyHead(5, 4)
    assert head.loss(torch.empty(0, 4), torch.empty(0, dtype=torch.long)) == 0
