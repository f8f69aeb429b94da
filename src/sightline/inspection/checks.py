"""How far a capture's numbers are from what they must be."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sightline.inspection.manifest import StackInfo
from sightline.models.sequence_to_sequence import AnyModel


def deviations(model: AnyModel, tensors: dict[str, Tensor], kinds: Sequence[StackInfo]) -> dict[str, float]:
    """The largest deviations, over all attentions: of the sum of a row of weights from one; of what the model's own kernel gave
    from the weights by definition times the values; of the sum over heads of z W_O, and the bias, from the output. None of a
    model without attention.
    """
    if not kinds:
        return {}
    rows = again = joined = 0.0
    for kind in kinds:
        part, _, which = kind.name.partition(".")
        for i in range(kind.layers):
            at = f"{part}.{i}.{which}"
            weights, v, z, out = (tensors[f"{at}.{name}"] for name in ("weights", "v", "z", "out"))
            rows = max(rows, _largest(weights.sum(dim=2) - 1.0))
            again = max(again, _largest(weights @ v - z))
            projection = cast(nn.Linear, model.get_submodule(f"{at}.o_proj"))
            by_head = projection.weight.detach().cpu().float().unflatten(1, (z.shape[0], -1))  # [m, h, d]
            total = torch.einsum("hqd,mhd->hqm", z, by_head).sum(dim=0)
            if cast(Any, projection.bias) is not None:
                total = total + projection.bias.detach().cpu().float()
            joined = max(joined, _largest(total - out))
    return {"row_sum_err": rows, "recompute_err": again, "wo_sum_err": joined}


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


@torch.inference_mode()
def incremental_deviation(
    model: AnyModel, src: Tensor, tgt: Tensor, log_probs: Float[Tensor, "m vocab"], go_on: Callable[[], None]
) -> float:
    """How far, in probability, what the model says step by step is from what it says to the whole translation at once."""
    state, largest = model.start(src), 0.0
    for t in range(tgt.shape[1]):
        go_on()
        step = torch.softmax(model.step(tgt[:, t], state)[0].float().cpu(), dim=-1)
        largest = max(largest, _largest(step - log_probs[t].exp()))
    return largest
