"""What a family of models is in ONNX: an encoder, one step of the decoder, and what a search keeps for it from step to step."""

import types
from dataclasses import dataclass

from torch import nn

from sightline.nn.cores import AttentionCore


@dataclass(frozen=True)
class Kept:
    """A tensor that the encoder gives and each step takes."""

    rows: int
    """Which of its axes counts the rows: sentences, later hypotheses."""
    lengths: tuple[int, ...] = ()
    """Other axes of no fixed length."""
    after: str | None = None
    """The output of a step that is the next step's; None: it stays as it is."""


@dataclass(frozen=True)
class Graphs:
    """Two modules that torch can trace.

    - encoder: src [b, s] -> what is kept, in this order
    - step: tokens [n], position [1, 1], exists [n, s] (src != pad_id) and, by name, what is kept -> logits [n, vocab], and each
      `after` in this order
    """

    encoder: nn.Module
    step: nn.Module
    kept: dict[str, Kept]

    @property
    def changed(self) -> dict[str, str]:
        """Of what is kept, what each step changes: the output that is the next step's."""
        return {name: each.after for name, each in self.kept.items() if each.after is not None}


def as_defined(model: nn.Module) -> None:
    """Have every attention compute what its core's `weights` say, whatever faster way it has."""
    for module in model.modules():
        if isinstance(module, AttentionCore):
            module.forward = types.MethodType(AttentionCore.forward, module)
