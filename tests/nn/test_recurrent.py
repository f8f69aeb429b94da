"""Recurrent layers beside torch's own, and what makes them different from those."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sightline.nn.attention import CrossAttention
from sightline.nn.cache import MemoryCache
from sightline.nn.cores import Additive
from sightline.nn.dropout import Dropout, SharedDropout
from sightline.nn.mask import Mask
from sightline.nn.recurrent import CELLS, GRU, LSTM, AttentiveLayer, Cell, Elman, RecurrentEncoderLayer, StepProduct

D_IN, WIDTH = 5, 6
TORCH: dict[str, Callable[..., Any]] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
each = pytest.mark.parametrize("kind", CELLS)


def made(kind: str, **more: Any) -> Cell:
    torch.manual_seed(3)
    cell = CELLS[kind](D_IN, WIDTH, **more)
    with torch.no_grad():
        for p in cell.parameters():
            p.normal_(0.0, 0.5)
    return cell


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(11))


def lengths() -> tuple[Tensor, Tensor]:
    exists = torch.ones(3, 7, dtype=torch.bool)
    exists[1, 4:] = exists[2, 1:] = False
    return exists, exists.sum(dim=1)


@each
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_layer_gives_what_torchs_own_gives(kind: str, bidirectional: bool) -> None:
    forwards, backwards = made(kind), CELLS[kind](D_IN, WIDTH) if bidirectional else None
    other = TORCH[kind](D_IN, WIDTH, batch_first=True, bidirectional=bidirectional)
    with torch.no_grad():
        for cell, end in ((forwards, ""), (backwards, "_reverse")):
            for name, p in () if cell is None else cell.named_parameters():
                getattr(other, f"{name}_l0{end}").copy_(p)
    x, (exists, count) = numbers(3, 7, D_IN), lengths()
    out, last = RecurrentEncoderLayer(forwards, backwards)(x, exists)
    packed, state = other(pack_padded_sequence(x, count, batch_first=True, enforce_sorted=False))
    expected, _ = pad_packed_sequence(packed, batch_first=True, total_length=7)
    torch.testing.assert_close(out, expected)
    parts = torch.cat(state, dim=-1) if kind == "lstm" else state
    torch.testing.assert_close(torch.stack(last), parts)


@each
def test_step_by_step_is_all_at_once(kind: str) -> None:
    cell, x = made(kind), numbers(3, 7, D_IN)
    state = numbers(3, cell.parts * WIDTH)
    out, last = cell(x, state)
    for t in range(7):
        state = cell.step(cell.of_products(nn.functional.linear(x[:, t], cell.weight_ih, cell.product_bias)), state)
        torch.testing.assert_close(out[:, t], state[:, :WIDTH])
    torch.testing.assert_close(last, state)


@each
def test_what_is_computed_in_steps_reads_padded_rows_as_torchs_loop_does(kind: str) -> None:
    x, (exists, _) = numbers(3, 7, D_IN), lengths()
    layer = RecurrentEncoderLayer(made(kind), CELLS[kind](D_IN, WIDTH))
    fast = layer(x, exists)
    slow = layer.by_steps(x, exists)
    torch.testing.assert_close(fast, slow)


def test_norms_stand_before_the_biases_as_the_paper_has_them() -> None:
    cell, x, h = made("elman", layer_norm=True), numbers(2, 1, D_IN), numbers(2, WIDTH)
    assert isinstance(cell, Elman) and cell.norm_ih is not None and cell.norm_hh is not None
    parts = [
        (cell.norm_ih, x[:, 0] @ cell.weight_ih.T, cell.bias_ih),
        (cell.norm_hh, h @ cell.weight_hh.T, cell.bias_hh),
    ]
    total = torch.zeros(2, WIDTH)
    for norm, product, bias in parts:
        centred = product - product.mean(1, keepdim=True)
        total += norm.weight * centred / (product.var(1, unbiased=False, keepdim=True) + norm.eps).sqrt() + bias
    torch.testing.assert_close(cell(x, h)[1], torch.tanh(total))


@each
def test_normalising_a_state_of_zeros_gives_no_huge_gradient(kind: str) -> None:
    sizes = []
    for norm in (False, True):
        torch.manual_seed(3)
        cell = CELLS[kind](D_IN, WIDTH, layer_norm=norm)
        x = numbers(3, 7, D_IN)
        cell(x, cell.zero_state(x))[0].sum().backward()
        sizes.append(max(float(p.grad.norm()) for p in cell.parameters() if p.grad is not None))
    assert sizes[1] < 10 * sizes[0]


def test_an_lstm_forgets_nothing_at_first() -> None:
    cell = LSTM(D_IN, WIDTH)
    assert (cell.bias_ih.view(4, WIDTH).mean(dim=1) == torch.tensor([0.0, 1.0, 0.0, 0.0])).all()


def test_recurrent_dropout_leaves_out_the_same_numbers_of_the_state_at_every_step() -> None:
    cell = GRU(D_IN, WIDTH, dropout=0.5).train()
    with torch.no_grad():
        cell.weight_hh.zero_()
        cell.weight_hh[2 * WIDTH :] = torch.eye(WIDTH)  # the new vector alone sees the state, as it is
        cell.bias_ih[:WIDTH], cell.bias_ih[WIDTH : 2 * WIDTH] = 9.0, -9.0  # it is let in, and nothing else is kept
        cell.bias_ih[2 * WIDTH :] = 0.1
    torch.manual_seed(1)
    out, _ = cell(torch.zeros(1, 6, D_IN), torch.full((1, WIDTH), 0.5))
    dropped = (out[0] - torch.tanh(torch.tensor(0.1))).abs() < 0.01
    assert dropped.any() and not dropped.all() and (dropped == dropped[0]).all()
    cell.eval()
    assert not cell.steps_alone


def test_shared_dropout_leaves_out_the_same_numbers_at_every_position_and_others_in_every_row() -> None:
    torch.manual_seed(0)
    drop = SharedDropout(0.5).train()
    zero = drop(torch.ones(4, 9, 32)) == 0
    assert (zero == zero[:, :1]).all() and len({tuple(row.tolist()) for row in zero[:, 0]}) == 4
    assert 0.3 < zero.float().mean() < 0.7
    by_steps = drop.by_steps(torch.ones(4, 32))
    first, second = (by_steps(torch.ones(4, 32)) for _ in range(2))
    assert torch.equal(first, second) and (first == 0).any()
    assert torch.equal(drop.eval()(torch.ones(4, 9, 32)), torch.ones(4, 9, 32))


def attentive(attend: Any, feeds: bool, dropout: Dropout | None = None) -> AttentiveLayer:
    torch.manual_seed(4)
    more = WIDTH if attend == "before" or feeds else 0
    cross = CrossAttention(WIDTH, 1, Additive(1, WIDTH), d_memory=8)
    second = GRU(WIDTH, WIDTH) if attend == "between" else None
    return AttentiveLayer(GRU(D_IN + more, WIDTH), cross, attend, feeds, dropout, second)


def written_down(layer: AttentiveLayer, x: Tensor, state: Tensor, memory: Tensor, mask: Mask) -> Tensor:
    """Word by word, as the papers have it."""
    h, told, found = state, torch.zeros(len(x), WIDTH), []

    def look(h: Tensor) -> Tensor:
        return layer.cross_attn(h[:, None], memory, mask)[:, 0]

    for t in range(x.shape[1]):
        if layer.attend == "before":
            seen = look(h)
            h = layer.cell(torch.cat((x[:, t], seen), dim=1)[:, None], h)[1]
        elif layer.second is not None:
            asking = layer.cell(x[:, t, None], h)[1]
            seen = look(asking)
            h = layer.second(seen[:, None], asking)[1]
        else:
            given = torch.cat((x[:, t], told), dim=1) if layer.feeds else x[:, t]
            h = layer.cell(given[:, None], h)[1]
            seen = look(h)
        told = torch.tanh(layer.join(torch.cat((h, seen), dim=1)))
        found.append(told)
    return torch.stack(found, dim=1)


@pytest.mark.parametrize(
    ("attend", "feeds"), [("before", False), ("between", False), ("after", True), ("after", False)]
)
def test_attention_before_between_or_after_steps_is_that_of_the_papers(attend: str, feeds: bool) -> None:
    layer = attentive(attend, feeds).eval()
    x, state, memory, (exists, _) = numbers(3, 4, D_IN), numbers(3, WIDTH), numbers(3, 7, 8), lengths()
    mask = Mask(keys=exists)
    out, last = layer(x, layer.first_state(state), memory, mask, MemoryCache())
    torch.testing.assert_close(out, written_down(layer, x, state, memory, mask))
    half, between = layer(x[:, :2], layer.first_state(state), memory, mask, MemoryCache())
    rest, end = layer(x[:, 2:], between, memory, mask, MemoryCache(), at=2)
    torch.testing.assert_close(torch.cat((half, rest), dim=1), out)
    torch.testing.assert_close(end, last)


def test_what_is_fed_changes_the_next_step() -> None:
    fed = attentive("after", True).eval()
    x, state, memory = numbers(3, 4, D_IN), numbers(3, WIDTH), numbers(3, 7, 8)
    out, _ = fed(x, fed.first_state(state), memory, Mask(), MemoryCache())
    told_before = torch.cat((state, torch.ones(3, WIDTH)), dim=1)
    assert not torch.allclose(fed(x, told_before, memory, Mask(), MemoryCache())[0][:, 0], out[:, 0])


D = 4


def double(module: nn.Module) -> None:
    torch.manual_seed(3)
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()


def by_linear(cell: Cell, x: Tensor, state: Tensor) -> Tensor:
    found = []
    for of_input in cell.of_input(x).unbind(1):
        state = cell.step(of_input, state)
        found.append(state[:, : cell.width])
    return torch.stack(found, dim=1)


def test_a_product_that_is_asked_step_by_step_has_the_gradients_of_one_product_a_step() -> None:
    torch.manual_seed(1)
    weight, base, x = (torch.randn(*shape, dtype=torch.float64) for shape in ((6, D), (2, 5, 6), (2, D)))

    def steps(weight: Tensor, base: Tensor, x: Tensor, *, later: bool = True) -> Tensor:
        product, found = StepProduct(weight, base), []
        for t in range(base.shape[1]):
            y = product(x) if later else base[:, t] + x @ weight.T
            x = torch.tanh(y[:, :D])
            found.append(y)
        return torch.stack(found, dim=1)

    given = [each.requires_grad_() for each in (weight, base, x)]
    torch.testing.assert_close(steps(*given), steps(*given, later=False))
    assert torch.autograd.gradcheck(steps, given)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_the_loop_of_a_cell_gives_what_its_steps_give_and_their_gradients(kind: str, layer_norm: bool) -> None:
    cell = CELLS[kind](3, D, layer_norm)
    double(cell)
    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    state = torch.randn(2, cell.state_size, dtype=torch.float64)
    exists = torch.ones(2, 5, dtype=torch.bool)
    weights = torch.randn(2, 5, D, dtype=torch.float64)
    names, parameters = zip(*cell.named_parameters(), strict=True)
    ours, expected = cell(x, state, exists)[0], by_linear(cell, x, state)
    torch.testing.assert_close(ours, expected)
    found, right = (
        torch.autograd.grad((each * weights).sum(), (x, *parameters), retain_graph=True) for each in (ours, expected)
    )
    for name, a, b in zip(("x", *names), found, right, strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    ("attend", "feeds"), [("before", False), ("between", False), ("after", True), ("after", False)]
)
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_through_an_attentive_layer_are_those_of_finite_differences(
    kind: str, attend: str, feeds: bool
) -> None:
    core = Additive(2, 2)
    cell = CELLS[kind](3 + (D if attend == "before" or feeds else 0), D)
    second = CELLS[kind](D, D) if attend == "between" else None
    cross = CrossAttention(D, 2, core, d_memory=5)
    layer = AttentiveLayer(cell, cross, attend, feeds, second=second)  # pyright: ignore[reportArgumentType]
    double(layer)
    x, memory = (torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 3), (5, 5)))
    state = layer.first_state(torch.randn(2, layer.cell.state_size, dtype=torch.float64)).requires_grad_()
    calls, exists = [], torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    core.register_forward_pre_hook(lambda _, given: calls.append(given[0].shape[2]))

    def told(x: Tensor, state: Tensor, memory: Tensor, *_: Tensor) -> Tensor:
        return layer(x, state, memory, Mask(keys=exists), MemoryCache())[0]

    told(x, state, memory)
    assert calls == ([1, 1, 1] if layer.steps_alone else [3])
    assert torch.autograd.gradcheck(told, (x, state, memory, *layer.parameters()))
