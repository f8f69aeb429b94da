# pyright: reportPrivateImportUsage=false
"""Optimisers, gradient clipping, and the average of the weights along the way."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adam import adam

from sightline.bundle.weights import PRECISIONS
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.mixers import GatedConvolution
from sightline.nn.recurrent import Cell
from sightline.training.settings import TrainSettings


def make_optimizer(model: nn.Module, settings: TrainSettings, precision: str = "fp32") -> "Adam":
    """Adam, AdamW or Muon; decay on matrices only, not on norms and biases.

    `precision` is the number format of the run: Muon's matrix products, which only give directions, are computed in it.
    """
    if settings.optimizer == "muon":
        return Muon(model, settings.betas, settings.eps, settings.weight_decay, PRECISIONS[precision])
    groups = by_decay([*model.parameters()], settings.weight_decay)
    return Adam(groups, settings.betas, settings.eps, decoupled=settings.optimizer == "adamw")


Group = dict[str, Any]
"""Parameters and what they have in common, as torch's optimizers have it: "params", "weight_decay", "lr" ..."""


def by_decay(params: list[Tensor], weight_decay: float) -> list[Group]:
    """Matrices, which decay, and norms and biases, which do not."""
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step, for all weights. On a GPU it stays in its place, where a recorded step looks for it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class Adam(torch.optim.Optimizer):
    """Adam (Kingma and Ba 2015), or with `decoupled` weight decay AdamW (Loshchilov and Hutter 2019), by torch's fused kernels.

    Unlike `torch.optim.Adam` it has its moments from the start, so that they lie together in memory, not between what the first
    step leaves behind; and it does not import torch's compiler, as torch's do to keep it away from them: 70 MB, and most of a
    second. On a GPU learning rate and step counts stay there, where a recorded step looks for them.
    """

    def __init__(self, groups: list[Group], betas: tuple[float, float], eps: float, *, decoupled: bool) -> None:
        groups = [group for group in groups if group["params"]]
        device = groups[0]["params"][0].device
        lr = torch.zeros((), device=device) if device.type == "cuda" else 0.0
        self.decoupled = decoupled
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = self.first_state(p)

    def add_param_group(self, param_group: Group) -> None:  # not torch's, which imports the compiler
        """Take parameters in."""
        self.param_groups.append({**self.defaults, **param_group})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def first_state(self, p: Tensor) -> dict[str, Tensor]:
        """What is kept of a parameter, before its first step."""
        moments = {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        return {"step": torch.zeros((), device=p.device), **moments}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if params := [p for p in group["params"] if p.grad is not None]:
                self.move(params, group)
        return loss

    def move(self, params: list[Tensor], group: Group) -> None:
        """Move parameters of a group, all of which have gradients."""
        decay = group["weight_decay"]
        if self.decoupled and decay:
            torch._foreach_mul_(params, 1.0 - group["lr"] * decay)
        steps, means, squares = ([self.state[p][name] for p in params] for name in ("step", "exp_avg", "exp_avg_sq"))
        adam(
            params,
            [cast(Tensor, p.grad) for p in params],
            means,
            squares,
            [],
            steps,
            fused=True,
            capturable=params[0].is_cuda,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0 if self.decoupled else decay,
            eps=group["eps"],
            maximize=False,
        )


class Muon(Adam):
    """Momentum, orthogonalised, for the matrices of hidden layers (Jordan et al. 2024), and AdamW for everything else:
    embeddings, the vocabulary's weights, norms, biases, and what attention cores have of their own.

    An orthogonal matrix moves all directions alike, those too that the gradient hardly shows. Each attention head has matrices
    of its own, its slices of the projections, and so has each gate of a recurrent cell or a convolution. Updates are scaled by
    0.2 sqrt(max(rows, columns)), which gives their elements the size of Adam's (Liu et al. 2025, section 2.2), so that one
    learning rate, one schedule and one weight decay serve both.
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
        self.matrices = hidden_matrices(model)
        others: list[Tensor] = [p for p in model.parameters() if p not in self.matrices]
        own = {"params": list(self.matrices), "weight_decay": weight_decay}
        super().__init__([own, *by_decay(others, weight_decay)], betas, eps, decoupled=True)

    def first_state(self, p: Tensor) -> dict[str, Tensor]:  # noqa: D102
        return {"momentum": torch.zeros_like(p)} if p in self.matrices else super().first_state(p)

    def move(self, params: list[Tensor], group: Group) -> None:  # noqa: D102
        if params[0] in self.matrices:
            torch._foreach_mul_(params, 1.0 - group["lr"] * group["weight_decay"])
            self._muon(params, group["lr"])
        else:
            super().move(params, group)

    def _muon(self, params: list[Tensor], lr: float | Tensor) -> None:
        """Nesterov's momentum, orthogonalised: matrices of a shape together, each shape moved by the same distance."""
        gradients = [cast(Tensor, p.grad) for p in params]
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


CACHED = 1 << 16
"""Numbers of the matrices that a processor orthogonalises at once: with their products they stay in its second cache."""
AsMatrices = Callable[[Tensor], Tensor]
"""From a weight [rows, columns] to the matrices it is made of [n, rows, columns], a view."""


def hidden_matrices(model: nn.Module) -> dict[Tensor, AsMatrices]:
    """The weights of linear layers, recurrent cells and convolutions: one matrix each, but one a head for the projections of
    attention, and one a gate.
    """
    found: dict[Tensor, AsMatrices] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            found.setdefault(module.weight, lambda weight: weight[None])
        elif isinstance(module, SelfAttention | CrossAttention):
            d_head = module.d_head
            for projection in (module.q_proj, module.k_proj, module.v_proj):
                found[projection.weight] = lambda weight, d=d_head: weight.unflatten(0, (-1, d))
            found[module.o_proj.weight] = lambda weight, d=d_head: weight.unflatten(1, (-1, d)).transpose(0, 1)
        elif isinstance(module, Cell):
            for weight in (module.weight_ih, module.weight_hh):
                found[weight] = lambda weight, width=module.width: weight.unflatten(0, (-1, width))
        elif isinstance(module, GatedConvolution):
            found[module.weight] = lambda weight: weight.unflatten(0, (2, -1))
    return found


def orthogonalize(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """About the nearest matrix with orthonormal rows (or columns, if those are fewer) to each: U V^T of its U S V^T.

    Five steps of a Newton-Schulz iteration whose polynomial (Jordan et al. 2024) brings singular values near 1 fast rather than
    exactly: those above 1/500 of the matrix's norm end between 0.68 and 1.21.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT.contiguous() if tall else matrices
    at_once = len(wide) if wide.is_cuda else max(1, CACHED // wide[0].numel())
    found = torch.cat([_newton_schulz(each) for each in wide.split(at_once)])
    return found.mT if tall else found


def _newton_schulz(x: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    a, b, c = 3.4445, -4.7750, 2.0315
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


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
