"""What a search asks of a model."""

from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.decoding.searcher import step_limit
from sightline.decoding.settings import DecodingSettings


@runtime_checkable
class State(Protocol):
    """What a model remembers between two steps; one row for each hypothesis."""

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order.

        A row may be named several times or not at all, so there may be more or fewer rows than before.
        """
        ...


@runtime_checkable
class WatchedState(State, Protocol):
    """A state that can show how the model looks at the source."""

    def watch(self) -> None:
        """Have `attention` from the next step on."""
        ...

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step of each row looked at the source: each row adds up to 1, padding has 0."""
        ...


def watched(state: State) -> WatchedState:
    """The state, if it can show attention. Raises ValueError if not."""
    if not isinstance(state, WatchedState):
        raise ValueError(
            f"coverage_penalty needs a model that shows what it looks at, and {type(state).__name__} does not"
        )
    return state


AnyState = TypeVar("AnyState", bound=State)


@runtime_checkable
class Decodable(Protocol[AnyState]):
    """A model that writes a sequence token by token: Transformer, recurrent network or a table in a test.

    A model that can make only so many steps says so by an attribute `max_len: int`; the searches go no further.
    """

    @property
    def bos_id(self) -> int:
        """The token that every sequence is begun with."""
        ...

    @property
    def eos_id(self) -> int:
        """The token that ends a sequence."""
        ...

    @property
    def pad_id(self) -> int:
        """The token that fills a batch up."""
        ...

    def start(self, src: Int[Tensor, "b s"]) -> AnyState:
        """Read the source; the state has one row for each sentence."""
        ...

    def step(self, tokens: Int[Tensor, " n"], state: AnyState) -> Float[Tensor, "n vocab"]:
        """Logits of the next token, given the newest token of each row (at first `bos_id`)."""
        ...


def length_limits(model: Decodable[Any], src: Int[Tensor, "b s"], settings: DecodingSettings) -> list[int]:
    """The most steps for each sentence: see `step_limit`. A sentence has the same limit in any batch."""
    return [step_limit(model, row, settings) for row in src.tolist()]


def next_log_probs(logits: Float[Tensor, "n vocab"], model: Decodable[Any], may_end: bool) -> Float[Tensor, "n vocab"]:
    """Log-probabilities in float32, over the whole vocabulary; then what must not come next is set to `-inf`.

    That is `pad` and `bos` always, and `eos` unless the sentence `may_end` here.
    """
    log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.float32)  # a new tensor, so it may be written to
    log_probs[:, model.pad_id] = -torch.inf
    log_probs[:, model.bos_id] = -torch.inf
    if not may_end:
        log_probs[:, model.eos_id] = -torch.inf
    return log_probs


def keep_rows(state: State, index: Int[Tensor, " n"], rows: int) -> None:
    """Reorder a state of `rows` rows, unless that would change nothing."""
    if len(index) != rows or not torch.equal(index, torch.arange(rows, device=index.device)):
        state.reorder(index)
