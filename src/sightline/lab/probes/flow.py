"""What flows through an encoder, as tensors to differentiate by: seen from outside, the model does not know of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sightline.models.sequence_to_sequence import AnyModel


class Flow:
    """Of the last time the model read its source: `embedding` [b, s, m] is what the first layer got, `layers` [b, s, d]
    are what each layer of the encoder gave, and `memory` [b, s, d] what the decoder was given.
    """

    def __init__(self) -> None:
        self.embedding, self.memory = torch.empty(0), torch.empty(0)
        self.layers: list[Tensor] = []


def _vectors(given: Any) -> Tensor:
    """What a layer tells the next, without what else it gives."""
    return given if isinstance(given, Tensor) else given[0]


@contextmanager
def flow(model: AnyModel) -> Iterator[Flow]:
    """Have the `Flow` of a model as it runs. The source's embedding is made a leaf: gradients end there."""
    seen = Flow()

    def embedded(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        seen.embedding, seen.layers = out.detach().requires_grad_(), []
        return seen.embedding

    def left_layer(_: nn.Module, __: Any, out: Any) -> None:
        seen.layers.append(_vectors(out))

    def left(_: nn.Module, __: Any, out: Any) -> None:
        seen.memory = _vectors(out)

    hooks = [model.src_embed.register_forward_hook(embedded), model.encoder.register_forward_hook(left)]
    hooks += [layer.register_forward_hook(left_layer) for layer in model.encoder]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
