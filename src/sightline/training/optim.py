"""Optimisers, gradient clipping, and the average of the weights along the way."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from sightline.training.settings import TrainSettings


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019); decay on matrices only, not on norms and biases."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    cls = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    return cls(groups, lr=settings.lr or 0.0, betas=settings.betas, eps=settings.eps, fused=True)


def clip(model: nn.Module, limit: float) -> float:
    """Scale all gradients down so that their joint norm is at most `limit` (0: leave them). Returns the norm before; if
    that is not finite the gradients are left as they are, to be looked at.
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
    if limit > 0 and torch.isfinite(norm):
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), limit, norm, foreach=True)
    return float(norm)


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
        torch._foreach_lerp_(own, new, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]


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
