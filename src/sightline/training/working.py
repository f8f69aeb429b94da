# pyright: reportPrivateImportUsage=false
"""What computes a step's gradient: the model itself or a copy, whose weights are rounded anew before each step in a half format,
and whose blocks are compiled on a GPU.
"""

import copy
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from sightline.bundle.weights import PRECISIONS
from sightline.nn.block import Block
from sightline.nn.embed import TokenEmbedding
from sightline.nn.heads import VocabularyHead
from sightline.tasks.task import Task

IN_FULL = (TokenEmbedding, VocabularyHead)
"""Modules that keep float32 weights, the model's own: their gradients are sums over all tokens of a batch."""
COMPILED = (Block, TokenEmbedding)
"""Modules that are compiled where anything is: one program serves all layers alike."""

Model = TypeVar("Model", bound=nn.Module)


class WorkingCopy(Generic[Model]):
    """A model at work in a number format. The weights that are trained, saved and validated stay those of `model`, in float32,
    so that steps too small for bf16 add up (Micikevicius et al. 2018, section 3.1).

    In fp32 the model itself works. In bf16 and fp16 a copy does, which holds the weights of its blocks, and whatever flows
    between them, in that format; norms, softmax and matrix products sum up in float32 all the same. Embeddings and the
    vocabulary's weights are shared with `model`, and the loss takes its softmax in float32.

    If it is to be `compiled`, torch's compiler makes one program of each block's many small operations. What it cannot compile
    runs as it is.
    """

    def __init__(self, model: Model, precision: str, *, compiled: bool = False) -> None:
        self.trained = model
        self.model = model
        """The model whose loss is to be computed."""
        self._pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        if precision == "fp32" and not compiled:
            return
        whole = (nn.Module,) if precision == "fp32" else IN_FULL
        shared = {id(p): p for module in model.modules() if isinstance(module, whole) for p in module.parameters()}
        self.model = copy.deepcopy(model, dict(shared))
        if precision != "fp32":
            _convert(self.model, PRECISIONS[precision], set(shared))
        own = dict(model.named_parameters())
        self._pairs = [(own[name], p) for name, p in self.model.named_parameters() if id(p) not in shared]
        if compiled:
            _compile(self.model)

    def gradient(self, task: Task, batch: Any, count: float | Tensor) -> Tensor:
        """Add the gradient of a batch's loss, divided by `count`, to the gradients of the trained model, with its weights as they
        are now. Returns the loss, summed.
        """
        self.refresh()
        loss = task.loss(self.model, batch)
        (loss.total / count).backward()
        self.hand_over()
        return loss.total.detach()

    def forget(self) -> None:
        """Drop all gradients, those of a pass that was broken off among them."""
        for model in (self.model, self.trained):
            model.zero_grad(set_to_none=True)

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of the optimizer, after which the gradients are forgotten."""
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def refresh(self) -> None:
        """Take over the weights as they are now."""
        if self._pairs:
            masters, workers = zip(*self._pairs, strict=True)
            torch._foreach_copy_(workers, masters)

    @torch.no_grad()
    def hand_over(self) -> None:
        """Add the gradients of a backward pass to those of the float32 weights, and forget them here."""
        pairs = [(master, worker) for master, worker in self._pairs if worker.grad is not None]
        if not pairs:
            return
        gradients = [torch.empty_like(master) for master, _ in pairs]
        torch._foreach_copy_(gradients, [cast(Tensor, worker.grad) for _, worker in pairs])
        earlier = [(master.grad, gradient) for (master, _), gradient in zip(pairs, gradients, strict=True)]
        if sums := [(grad, gradient) for grad, gradient in earlier if grad is not None]:
            torch._foreach_add_(*map(list, zip(*sums, strict=True)))
        for (master, worker), gradient in zip(pairs, gradients, strict=True):
            master.grad = gradient if master.grad is None else master.grad
            worker.grad = None


def _compile(model: nn.Module) -> None:
    """Block by block, so that a program serves many layers, for batches of one shape."""
    torch._dynamo.config.suppress_errors = True
    for module in model.modules():
        if isinstance(module, COMPILED):
            module.compile(dynamic=False, options={"max_autotune_pointwise": True})


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
