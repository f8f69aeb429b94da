"""Tensors that hooks see while a model runs, each under its address."""

from typing import Any

import torch
from torch import Tensor, nn

from sightline.nn.recurrent import AttentiveLayer


class Recorder:
    """Keeps in `seen` the newest tensor of each name. A recurrent layer that asks its attention once a step passes a place many
    times in one pass of its own: what is kept `along` a dimension is then put together along it, when the layer is done.
    """

    def __init__(self, model: nn.Module, seen: dict[str, Tensor]) -> None:
        self.seen = seen
        self.handles: list[Any] = []
        self._steps: dict[str, tuple[int, list[Tensor]]] | None = None
        """Of a layer that runs step by step what it has passed so far; None while none runs."""
        for layer in model.modules():
            if isinstance(layer, AttentiveLayer) and layer.steps_alone:
                self.handles += [layer.register_forward_pre_hook(self._begin), layer.register_forward_hook(self._end)]

    def keep(self, name: str, x: Tensor, along: int | None = None) -> None:
        """Keep a tensor; `along` is the dimension of its steps, None for what is the same at every step."""
        if self._steps is None or along is None:
            self.seen[name] = x
        else:
            self._steps.setdefault(name, (along, []))[1].append(x)

    def close(self) -> None:
        """See nothing any more."""
        for handle in self.handles:
            handle.remove()

    def _begin(self, *_: Any) -> None:
        self._steps = {}

    def _end(self, *_: Any) -> None:
        steps, self._steps = self._steps or {}, None
        for name, (along, parts) in steps.items():
            self.seen[name] = torch.cat(parts, dim=along)
