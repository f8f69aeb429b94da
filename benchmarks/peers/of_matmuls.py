"""No toolkit: the matrix products of sightline's step and nothing else, which no step can be faster than.

The products of one step are written down as torch is asked for them, with shapes, layouts and number formats; a step is then
those calls again, on other numbers. On a GPU attention's products are inside a fused kernel, which is none.

The variant "square" is no step at all, but one large product of as many operations: the rate that the machine is capable of.
"""

from collections.abc import Callable, Sequence
from typing import Any

import of_sightline
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from worker import DEVICE, Batch, Sizes

PRODUCTS = {"mm", "bmm", "addmm", "baddbmm", "addmm_", "baddbmm_"}


class Listing(TorchDispatchMode):
    """Writes down the products that pass."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], list[tuple | object], dict[str, Any]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ in PRODUCTS:
            self.calls.append((func, [_shape(x) if isinstance(x, torch.Tensor) else x for x in args], kwargs or {}))
        return func(*args, **(kwargs or {}))


def _shape(x: torch.Tensor) -> tuple:
    return (tuple(x.shape), tuple(x.stride()), x.dtype)


class Step:
    def __init__(self, sizes: Sizes, precision: str) -> None:
        self.step = of_sightline.Step(sizes, precision, compiled=False)
        self.parameters = self.step.parameters
        self.calls: dict[int, list] = {}
        self.operands: dict[tuple, torch.Tensor] = {}

    def prepare(self, given: Sequence[Batch]) -> None:
        self.step.prepare(given)

    def __call__(self, batch: Batch, count: int) -> float:
        key = batch["src"].data_ptr()
        if key not in self.calls:
            listing = Listing()
            with listing:
                self.step(batch, count)
            self.calls[key] = [
                (func, [self._operand(x, place) if isinstance(x, tuple) else x for place, x in enumerate(args)], kwargs)
                for func, args, kwargs in listing.calls
            ]
        with torch.no_grad():
            for func, args, kwargs in self.calls[key]:
                func(*args, **kwargs)
        return 0.0

    def _operand(self, shape: tuple, place: int) -> torch.Tensor:
        """One tensor for each shape and layout at each place of a call, small numbers in it."""
        if (shape, place) not in self.operands:
            size, stride, dtype = shape
            needed = 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
            self.operands[shape, place] = (1e-3 * torch.randn(needed, device=DEVICE)).to(dtype).as_strided(size, stride)
        return self.operands[shape, place]


class Square:
    """Products of two square matrices, as many operations as sightline's step has (attention's included)."""

    SIDE = 8192 if DEVICE.type == "cuda" else 1024

    def __init__(self, sizes: Sizes, precision: str) -> None:
        self.step = of_sightline.Step(sizes, precision, compiled=False)
        self.parameters = self.step.parameters
        kind = next(p for p in self.step.working.model.parameters()).dtype if precision == "fp32" else torch.bfloat16
        self.a, self.b = (torch.randn(self.SIDE, self.SIDE, device=DEVICE).to(kind) for _ in range(2))
        self.times: dict[int, float] = {}

    def prepare(self, given: Sequence[Batch]) -> None:
        self.step.prepare(given)

    def __call__(self, batch: Batch, count: int) -> float:
        key = batch["src"].data_ptr()
        if key not in self.times:
            with FlopCounterMode(display=False) as counter:
                self.step(batch, count)
            self.times[key] = counter.get_total_flops() / (2 * self.SIDE**3)
        whole, part = divmod(self.times[key], 1.0)
        for _ in range(int(whole)):
            self.a @ self.b
        self.a[: round(part * self.SIDE)] @ self.b
        return 0.0


def make(sizes: Sizes, precision: str, variant: str) -> Step | Square:
    return Square(sizes, precision) if variant == "square" else Step(sizes, precision)
