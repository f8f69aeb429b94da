"""Several models that write one translation together."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.decoding.protocol import Decodable, State, watched


class EnsembleState:
    """The states of all models, row by row the same hypotheses."""

    def __init__(self, states: Sequence[State]) -> None:
        self.states = states

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order."""
        for state in self.states:
            state.reorder(index)

    def watch(self) -> None:
        """Have `attention` from the next step on. Raises ValueError if a model cannot show its own."""
        for state in self.states:
            watched(state).watch()

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step looked at the source: the mean of all models."""
        return torch.stack([watched(state).attention() for state in self.states]).mean(dim=0)


class Ensemble:
    """A `Decodable` that gives each next token the mean of the probabilities which the models give it (Sutskever et al. 2014,
    section 3.6 use it so), weighted by `weights` if there are any.

    The models may be of any kind, but read and write the same tokens. Raises ValueError if their special tokens differ, or if
    weights are not as many as models, or not above 0.
    """

    def __init__(self, models: Sequence[Decodable[Any]], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(models) if weights is None else weights
        if not models or len(weights) != len(models) or min(weights) <= 0:
            raise ValueError(f"{len(models)} models need as many weights, all above 0, not {list(weights)}")
        ids = {(model.pad_id, model.bos_id, model.eos_id) for model in models}
        if len(ids) > 1:
            raise ValueError(f"the models' ids of padding, begin and end differ: {sorted(ids)}")
        self.models = list(models)
        self.log_weights = [math.log(weight / sum(weights)) for weight in weights]
        self.pad_id, self.bos_id, self.eos_id = ids.pop()
        self.max_len = min(getattr(model, "max_len", 1 << 30) for model in models)

    @property
    def device(self) -> torch.device:
        """Where the first of them computes."""
        first: Any = self.models[0]
        return next(first.parameters()).device if isinstance(first, torch.nn.Module) else first.device

    def start(self, src: Int[Tensor, "b s"]) -> EnsembleState:
        """Read the source, each model for itself."""
        return EnsembleState([model.start(src) for model in self.models])

    def step(self, tokens: Int[Tensor, " n"], state: EnsembleState) -> Float[Tensor, "n vocab"]:
        """Logarithms of the mean probabilities. Raises ValueError if the vocabularies differ in size."""
        each = [
            torch.log_softmax(model.step(tokens, own), dim=-1, dtype=torch.float32) + log_weight
            for model, own, log_weight in zip(self.models, state.states, self.log_weights, strict=True)
        ]
        if len({found.shape for found in each}) > 1:
            raise ValueError(f"the models' vocabularies differ: {[found.shape[1] for found in each]} tokens")
        return torch.stack(each).logsumexp(dim=0)
