"""What computes a step's gradient: the model itself or, in bf16, a copy whose weights are rounded anew before each step."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from sightline.bundle import PRECISIONS
from sightline.nn.embed import TokenEmbedding
from sightline.nn.heads import VocabularyHead

IN_FULL = (TokenEmbedding, VocabularyHead)
"""Modules that keep float32 weights, the model's own: their gradients are sums over all tokens of a batch."""

Model = TypeVar("Model", bound=nn.Module)


class WorkingCopy(Generic[Model]):
    """A model at work in a number format. The weights that are trained, saved and validated stay those of `model`, in float32,
    so that steps too small for bf16 add up (Micikevicius et al. 2018, section 3.1).

    In fp32 the model itself works. In bf16 a copy does, which holds the weights of its blocks, and whatever flows between them,
    in bf16; norms, softmax and matrix products sum up in float32 all the same. Embeddings and the vocabulary's weights are
    shared with `model`, and the loss takes its softmax in float32.
    """

    def __init__(self, model: Model, precision: str) -> None:
        self.model = model
        """The model whose loss is to be computed."""
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        if precision == "fp32":
            return
        shared = {id(p): p for module in model.modules() if isinstance(module, IN_FULL) for p in module.parameters()}
        self.model = copy.deepcopy(model, dict(shared))
        _convert(self.model, PRECISIONS[precision], set(shared))
        own = dict(model.named_parameters())
        self._pairs = [(own[name], p) for name, p in self.model.named_parameters() if id(p) not in shared]

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights as they are now."""
        if self._pairs:
            masters, workers = zip(*self._pairs, strict=True)
            torch._foreach_copy_(workers, masters)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def hand_over(self) -> None:
        """Add the gradients of a backward pass to those of the float32 weights, and forget them here."""
        for master, worker in self._pairs:
            if worker.grad is None:
                continue
            if master.grad is None:
                master.grad = worker.grad.to(master.dtype)
            else:
                master.grad.add_(worker.grad)
            worker.grad = None


def _convert(module: nn.Module, kind: torch.dtype, shared: set[int]) -> None:
    """Weights and tables in `kind`, and the outputs of the modules that keep their own."""
    if isinstance(module, IN_FULL):
        module.register_forward_hook(lambda _module, _args, output: output.to(kind))
        return
    for p in module.parameters(recurse=False):
        if p.is_floating_point() and id(p) not in shared:
            p.data = p.data.to(kind)
    for name, table in module.named_buffers(recurse=False):
        if table.is_floating_point():
            setattr(module, name, table.to(kind))
    for child in module.children():
        _convert(child, kind, shared)
