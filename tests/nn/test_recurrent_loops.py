"""Recurrent layers: loops of ours beside torch's own and beside one step after another."""

import pytest
import torch

from sightline.nn.attention import CrossAttention
from sightline.nn.cache import MemoryCache
from sightline.nn.cores import Additive
from sightline.nn.mask import Mask
from sightline.nn.recurrent import CELLS, AttentiveLayer, Cell, RecurrentEncoderLayer, StepProduct

D, EXISTS = 4, torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


def double(module: torch.nn.Module) -> None:
    torch.manual_seed(3)
    module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()


def by_linear(cell: Cell, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    found = []
    for of_input in cell.of_input(x).unbind(1):
        state = cell.step(of_input, state)
        found.append(state[:, : cell.width])
    return torch.stack(found, dim=1)


def test_a_product_that_is_asked_step_by_step_has_the_gradients_of_one_product_a_step() -> None:
    torch.manual_seed(1)
    weight, base, x = (torch.randn(*shape, dtype=torch.float64) for shape in ((6, D), (2, 5, 6), (2, D)))

    def steps(weight: torch.Tensor, base: torch.Tensor, x: torch.Tensor, later: bool = True) -> torch.Tensor:
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


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("kind", CELLS)
def test_reading_by_torchs_loop_and_by_steps_is_the_same(kind: str, both: bool) -> None:
    layer = RecurrentEncoderLayer(CELLS[kind](3, D), CELLS[kind](3, D) if both else None)
    double(layer)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    (out, last), (expected, right) = layer(x, EXISTS), layer.by_steps(x, EXISTS)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(last, right)
    assert not out[1, 3:].any()


@pytest.mark.parametrize(("attend", "feeds"), [("before", False), ("after", True), ("after", False)])
@pytest.mark.parametrize("kind", CELLS)
def test_gradients_through_an_attentive_layer_are_those_of_finite_differences(
    kind: str, attend: str, feeds: bool
) -> None:
    core = Additive(2, 2)
    layer = AttentiveLayer(CELLS[kind](3 + D, D), CrossAttention(D, 2, core, d_memory=5), attend, feeds)  # pyright: ignore
    if attend == "after" and not feeds:
        layer.cell = CELLS[kind](3, D)
    double(layer)
    x, memory = (torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 3), (5, 5)))
    state = layer.first_state(torch.randn(2, layer.cell.state_size, dtype=torch.float64)).requires_grad_()
    calls = []
    core.register_forward_pre_hook(lambda _, given: calls.append(given[0].shape[2]))

    def told(x: torch.Tensor, state: torch.Tensor, memory: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return layer(x, state, memory, Mask(keys=EXISTS), MemoryCache())[0]

    told(x, state, memory)
    assert calls == ([1, 1, 1] if layer.steps_alone else [3])
    assert torch.autograd.gradcheck(told, (x, state, memory, *layer.parameters()))
