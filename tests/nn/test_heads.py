import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div

import sightline.nn.heads as heads
from sightline.nn.heads import VocabularyHead


@pytest.mark.parametrize("r_drop", [False, True])
@pytest.mark.parametrize("chunk", [1, 70, 10_000])
def test_a_bias_has_its_gradient_and_tokens_that_do_not_count_have_none(
    r_drop: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", {"cpu": chunk})
    torch.manual_seed(1)
    head = VocabularyHead(23, 8, bias=True)
    assert head.bias is not None
    with torch.no_grad():
        head.bias.normal_()
    hidden = torch.randn(2, 11, 8, requires_grad=True)
    targets, counts = torch.randint(0, 23, (11,)), (torch.arange(11) % 3 > 0).float()[:, None]
    used = counts[:, 0] > 0
    if r_drop:
        ours = head.r_drop_loss(hidden, targets, 0.1, 5.0, counts)
        plain = r_drop_by_its_formula(head, hidden[:, used], targets[used], 0.1, 5.0)
    else:
        ours = head.loss(hidden[0], targets, 0.1, counts)
        plain = cross_entropy(head(hidden[0][used]), targets[used], reduction="sum", label_smoothing=0.1)
    found = torch.autograd.grad(ours * 0.37, [hidden, head.weight, head.bias])
    expected = torch.autograd.grad(plain * 0.37, [hidden, head.weight, head.bias])
    torch.testing.assert_close((ours, *found), (plain, *expected))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 70, 10_000])
def test_the_chunked_loss_and_its_gradients_are_those_of_cross_entropy(
    smoothing: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", {"cpu": chunk})
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


def r_drop_by_its_formula(
    head: VocabularyHead, hidden: Tensor, targets: Tensor, smoothing: float, alpha: float
) -> Tensor:
    first, second = (head(one) for one in hidden)
    both = torch.cat((first, second))
    cross = cross_entropy(both, targets.repeat(2), reduction="sum", label_smoothing=smoothing)
    p, q = first.log_softmax(1), second.log_softmax(1)
    apart = kl_div(q, p, reduction="sum", log_target=True) + kl_div(p, q, reduction="sum", log_target=True)
    return (cross + alpha * apart / 2) / 2


@pytest.mark.parametrize(("smoothing", "alpha"), [(0.1, 5.0), (0.0, 5.0), (0.1, 0.0)])
@pytest.mark.parametrize("chunk", [1, 230, 10_000])
def test_the_r_drop_loss_and_its_gradients_are_those_of_its_formula(
    smoothing: float, alpha: float, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", {"cpu": chunk})
    torch.manual_seed(1)
    head = VocabularyHead(23, 8)
    hidden = torch.randn(2, 11, 8, requires_grad=True)
    targets = torch.randint(0, 23, (11,))
    given = (hidden, targets, smoothing, alpha)
    (head.r_drop_loss(*given) * 0.37).backward()
    assert hidden.grad is not None and head.weight.grad is not None
    mine = (hidden.grad.clone(), head.weight.grad.clone(), head.r_drop_loss(*given).detach())
    hidden.grad = head.weight.grad = None
    plain = r_drop_by_its_formula(head, *given)
    (plain * 0.37).backward()
    torch.testing.assert_close(mine, (hidden.grad, head.weight.grad, plain.detach()))
    with torch.no_grad():
        torch.testing.assert_close(head.r_drop_loss(*given), plain.detach())


@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_gradients_in_bfloat16_stay_near_those_in_float32(alpha: float) -> None:
    torch.manual_seed(1)
    head = VocabularyHead(50, 16)
    hidden, targets = torch.randn(2, 40, 16, requires_grad=True), torch.randint(0, 50, (40,))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        hidden.grad = head.weight.grad = None
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is torch.bfloat16):
            loss = head.r_drop_loss(hidden, targets, 0.1, alpha) + head.loss(hidden[0], targets, 0.1)
        loss.backward()
        assert hidden.grad is not None and head.weight.grad is not None
        found.append((hidden.grad.flatten(), head.weight.grad.flatten()))
    for exact, low in zip(*found, strict=True):
        assert cosine_similarity(exact, low, dim=0) > 0.999
        assert 0.97 < exact.norm() / low.norm() < 1.03


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
    assert head.r_drop_loss(torch.empty(2, 0, 4), torch.empty(0, dtype=torch.long), 0.1, 5.0) == 0
