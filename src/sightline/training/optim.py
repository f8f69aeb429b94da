# pyright: reportPrivateImportUsage=false
"""Optimisers, gradient clipping, and the average of the weights along the way."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.bundle import PRECISIONS
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.training.settings import TrainSettings


def make_optimizer(model: nn.Module, settings: TrainSettings, precision: str = "fp32") -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) or Muon; decay on matrices only, not on norms and biases.

    `precision` is the number format of the run: Muon's matrix products, which only give directions, are computed in it.
    """
    if settings.optimizer == "muon":
        return Muon(model, settings.betas, settings.eps, settings.weight_decay, PRECISIONS[precision])
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    device = matrices[0].device
    lr = torch.zeros((), device=device) if device.type == "cuda" else 0.0
    return cls(groups, lr=lr, betas=settings.betas, eps=settings.eps, fused=True, capturable=device.type == "cuda")


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step, for all weights. On a GPU it stays in its place, where a recorded step looks for it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for the matrices of linear layers (Jordan et al. 2024), and AdamW for everything else:
    embeddings, the vocabulary's weights, norms and biases.

    An orthogonal matrix moves all directions alike, those too that the gradient hardly shows. Each attention head has matrices
    of its own, its slices of the projections. Updates are scaled by 0.2 sqrt(max(rows, columns)), which gives their elements
    the size of Adam's (Liu et al. 2025, section 2.2), so that one learning rate, one schedule and one weight decay serve both.
    """

    MOMENTUM = 0.95

    def __init__(
        self,
        model: nn.Module,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.dtype = dtype
        self.matrices = matrices_of_linear_layers(model)
        others = [p for p in model.parameters() if p not in self.matrices]
        groups = [
            {"params": list(self.matrices), "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        device = next(model.parameters()).device
        lr = torch.zeros((), device=device) if device.type == "cuda" else 0.0
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
            if params[0] in self.matrices:
                self._muon(params, group["lr"])
            else:
                self._adam(params, group)
        return loss

    def _muon(self, params: list[nn.Parameter], lr: float | Tensor) -> None:
        """Nesterov's momentum, orthogonalised: matrices of a shape together, each shape moved by the same distance."""
        gradients = [cast(Tensor, p.grad) for p in params]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in params]
        torch._foreach_lerp_(momenta, gradients, 1.0 - self.MOMENTUM)
        directions = torch._foreach_lerp(gradients, momenta, self.MOMENTUM)
        alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p, direction in zip(params, directions, strict=True):
            own = self.matrices[p](p)
            alike[own.shape[1:]].append((own, self.matrices[p](direction)))
        for shape, pairs in alike.items():
            moved, along = zip(*pairs, strict=True)
            updates = orthogonalize(torch.cat(along).to(self.dtype)).to(moved[0].dtype)
            updates *= lr * (0.2 * max(shape) ** 0.5)
            torch._foreach_sub_(moved, updates.split([len(m) for m in moved]))

    def _adam(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [cast(Tensor, p.grad) for p in params]
        for p in params:
            if not (state := self.state[p]):
                state["step"] = torch.zeros((), device=p.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        steps, means, squares = ([self.state[p][name] for p in params] for name in ("step", "exp_avg", "exp_avg_sq"))
        torch._foreach_add_(steps, 1.0)
        counts = steps if params[0].is_cuda else [float(step) for step in steps]  # nothing is waited for
        torch._foreach_lerp_(means, gradients, 1.0 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1.0 - beta2)
        sizes = torch._foreach_div(squares, [1.0 - beta2**count for count in counts])
        torch._foreach_sqrt_(sizes)
        torch._foreach_add_(sizes, group["eps"])
        torch._foreach_div_(sizes, [-group["lr"] / (1.0 - beta1**count) for count in counts])
        torch._foreach_addcdiv_(list[Tensor](params), means, sizes)


AsMatrices = Callable[[Tensor], Tensor]
"""From a weight [rows, columns] to the matrices it is made of [n, rows, columns], a view."""


def matrices_of_linear_layers(model: nn.Module) -> dict[Tensor, AsMatrices]:
    """The weights of linear layers: one matrix each, and one a head for the projections of attention."""
    found: dict[Tensor, AsMatrices] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            found.setdefault(module.weight, lambda weight: weight[None])
        elif isinstance(module, SelfAttention | CrossAttention):
            d_head = module.d_head
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                found[projection.weight] = lambda weight, d=d_head: weight.unflatten(0, (-1, d))
            found[module.o_proj.weight] = lambda weight, d=d_head: weight.unflatten(1, (-1, d)).transpose(0, 1)
    return found


def orthogonalize(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """About the nearest matrix with orthonormal rows (or columns, if those are fewer) to each: U V^T of its U S V^T.

    Five steps of a Newton-Schulz iteration whose polynomial (Jordan et al. 2024) brings singular values near 1 fast rather than
    exactly: those above 1/500 of the matrix's norm end between 0.68 and 1.21.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def clip(model: nn.Module, limit: float, scale: float = 1.0) -> Float[Tensor, ""]:
    """Divide all gradients by `scale`, and scale them down so that their joint norm is at most `limit` (0: any). Returns the norm
    between the two; if that is not finite the gradients are left as they are, to be looked at. Nothing waits for a GPU.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True) / scale
    share = (limit / (norm + 1e-6)).clamp(max=1.0) if limit > 0 else torch.ones_like(norm)
    if limit > 0 or scale != 1.0:
        torch._foreach_mul_(gradients, torch.where(norm.isfinite(), share / scale, 1.0))
    return norm


class Ema:
    """Exponential moving average of the weights: average += (1 - decay) (weights - average), with a faster start.

    At step n the decay used is min(decay, (1 + n) / (10 + n)), so that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors: dict[str, Tensor] = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the present weights; `step` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = list(self.tensors.values())
        new = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(own, new, 1.0 - decay)


def average(many: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models' weights (Vaswani et al. 2017, section 6.1), summed in float64."""
    total: dict[str, Tensor] = {}
    count = 0
    for weights in many:
        count += 1
        for name, tensor in weights.items():
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / count).float() for name, tensor in total.items()}


@torch.no_grad()
def load_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy named weights into a model, in place."""
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])
