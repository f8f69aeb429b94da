"""What a search asks of a model, what it is told, and what it gives back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from sightline.config import Settings


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


class DecodingSettings(Settings):
    """How translations are searched for."""

    beam: Annotated[int, Field(ge=1, le=1000)] = 4
    """Hypotheses kept at each step; 1 is the greedy search."""
    length_norm: Literal["none", "average", "wu"] = "wu"
    """What the log-probability of a hypothesis is divided by, so that long ones are not at a disadvantage. average:
    length ** length_penalty; wu: ((5 + length) / 6) ** length_penalty (Wu et al. 2016, section 7); none: nothing.
    The length counts the end of the sentence."""
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 0.6
    """The exponent in length_norm: 0 changes nothing, more prefers longer translations, less than 0 shorter ones."""
    max_len_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """A translation has at most max_len_ratio * source tokens + max_len_extra tokens."""
    max_len_extra: Annotated[int, Field(ge=0)] = 20
    """See max_len_ratio."""
    min_len: Annotated[int, Field(ge=0)] = 0
    """The fewest tokens of a translation, its end not counted."""
    n_best: Annotated[int, Field(ge=1)] = 1
    """How many translations of a sentence are given, best first; at most beam."""
    stop: Literal["exact", "first"] = "exact"
    """When a sentence is done. exact: no unfinished hypothesis can still win; first: as many as beam are finished (as
    fairseq, and Hugging Face with early_stopping=True)."""
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Source tokens, padding included, times beam that are decoded at once."""
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    """No so many tokens in a row come twice in a translation; 0: they may."""
    coverage_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What a translation loses for source tokens it has hardly looked at (Wu et al. 2016, section 7): the score gets this times
    the sum over source tokens of log(min(attention to the token in all steps, 1)). 0: nothing; the beam search alone knows it."""
    beam_groups: Annotated[int, Field(ge=1)] = 1
    """Diverse beams (Vijayakumar et al. 2018): so many groups share the beam, each held away from what those before it choose."""
    diversity: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """What a token costs a group, in nats, for each hypothesis of the groups before it that has just taken it."""
    sample: bool = False
    """Draw translations at random instead of searching for the most probable: n_best of each sentence, whatever beam is."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by it before a token is drawn: below 1 the probable ones come more often, above 1 less."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Draw from the so many most probable tokens only (Fan et al. 2018); 0: from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the fewest tokens that together have this probability (Holtzman et al. 2020)."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens at least this many times as probable as the most probable one (Nguyen et al. 2024)."""
    mbr: Annotated[int, Field(ge=0)] = 0
    """Minimum Bayes risk (Eikema and Aziz 2020): draw so many samples, and give those first that are most like all of them by
    chrF. 0: do not."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another number draws other translations; the same one draws the same, in any batch."""

    @model_validator(mode="after")
    def _fits_the_beam(self) -> "DecodingSettings":
        if self.n_best > self.beam and not (self.sample or self.mbr):
            raise ValueError(f"n_best ({self.n_best}) is more than beam ({self.beam}): raise beam, or ask for fewer")
        if self.n_best > self.mbr > 0:
            raise ValueError(
                f"n_best ({self.n_best}) is more than the {self.mbr} samples of mbr: raise mbr, or ask for fewer"
            )
        if self.beam % self.beam_groups:
            raise ValueError(f"beam ({self.beam}) must be a multiple of beam_groups ({self.beam_groups})")
        return self

    def norm(self, length: int) -> float:
        """What the log-probability of `length` tokens (the end of the sentence counted) is divided by."""
        match self.length_norm:
            case "none":
                return 1.0
            case "average":
                return length**self.length_penalty
            case "wu":
                return ((5 + length) / 6) ** self.length_penalty

    def best_score(self, log_prob: float, length: int, limit: int) -> float:
        """The best score that an unfinished hypothesis of `length` tokens may still reach within `limit` tokens.

        More tokens never raise `log_prob`, which is at most 0, so the score is best where the divisor is largest. The
        divisor only grows with the length or, when length_penalty is negative, only shrinks: it is largest at one of
        the two ends, the limit or the very next token.
        """
        return log_prob / max(self.norm(length + 1), self.norm(limit))


@runtime_checkable
class Searcher(Protocol):
    """A model that searches on its own, for many sentences at once, whatever their lengths."""

    def searches(self, settings: DecodingSettings) -> bool:
        """Whether it can do so under these settings."""
        ...

    def search(
        self, sources: Sequence[Sequence[int]], settings: DecodingSettings, threads: int
    ) -> "list[list[Hypothesis]]":
        """What `beam_search`, with a beam of 1 `greedy`, gives for each source; the longest sources should come first."""
        ...


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One translation as tokens."""

    tokens: list[int]
    """Without `bos` and `eos`."""
    score: float
    """`log_prob` divided by the norm of the length, and the coverage penalty if there is one: what the search compares."""
    log_prob: float
    """Natural logarithm of the probability: the sum of `token_log_probs`."""
    token_log_probs: list[float]
    """One for each token, and one more for the end of the sentence when `finished`."""
    finished: bool
    """False when the limit of the length came before the end of the sentence."""


def hypothesis(
    tokens: list[int],
    token_log_probs: list[float],
    finished: bool,
    settings: DecodingSettings,
    coverage: Float[Tensor, " s"] | None = None,
) -> Hypothesis:
    """A hypothesis with its log-probability and its score; `coverage` is the attention that each source token has had."""
    log_prob = math.fsum(token_log_probs)
    score = log_prob / settings.norm(max(1, len(token_log_probs)))
    if coverage is not None:
        score += settings.coverage_penalty * float(coverage.clamp(1e-9, 1.0).log().sum())
    return Hypothesis(tokens, score, log_prob, token_log_probs, finished)


def length_limits(model: Decodable[Any], src: Int[Tensor, "b s"], settings: DecodingSettings) -> list[int]:
    """The most steps for each sentence: see `step_limit`. A sentence has the same limit in any batch."""
    return [step_limit(model, row, settings) for row in src.tolist()]


@runtime_checkable
class Vocabulary(Protocol):
    """The tokens that are no words."""

    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def bos_id(self) -> int: ...  # noqa: D102
    @property
    def eos_id(self) -> int: ...  # noqa: D102


def step_limit(model: Vocabulary, source: Sequence[int], settings: DecodingSettings) -> int:
    """The most steps for a sentence: the tokens of its translation, the end of the sentence counted.

    `int(max_len_ratio * source tokens) + max_len_extra`, where padding, begin and end of the source do not count. It is at
    least 1, gives way to `min_len` and never exceeds the model's own `max_len`, if it has one.
    """
    special = {model.pad_id, model.bos_id, model.eos_id}
    words = sum(token not in special for token in source)
    limit = max(int(settings.max_len_ratio * words) + settings.max_len_extra, settings.min_len + 1)
    most: int | None = getattr(model, "max_len", None)
    return limit if most is None else min(limit, most)


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
