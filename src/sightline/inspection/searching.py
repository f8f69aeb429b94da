"""A search watched from outside: every step, hypothesis and candidate, told by the searches of `decoding` themselves."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.data.tokenizers import Tokenizer
from sightline.decoding.beam import Beams, beam_search, best_candidates
from sightline.decoding.constraints import Rules
from sightline.decoding.hypothesis import Hypothesis, hypothesis
from sightline.decoding.phrases import Constraint
from sightline.decoding.protocol import Decodable
from sightline.decoding.scoring import score
from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import greedy
from sightline.inspection.manifest import Candidate, Decode, Finished, Live, Node, Step

TOPK = 10
"""Candidates that are written down at each step of a hypothesis."""
UNKNOWN = -1
"""The node of an empty place of the beam."""


def short(x: float) -> float:
    """A float32 in the fewest digits that always give it back."""
    return float(f"{x:.9g}")


class _WatchedState:
    """A model's state, and from which row of the step before each row comes."""

    def __init__(self, state: Any) -> None:
        self.inner, self.rows = state, [0]

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        self.inner.reorder(index)
        self.rows = [self.rows[i] for i in index.tolist()]

    def watch(self) -> None:
        self.inner.watch()

    def attention(self) -> Tensor:
        return self.inner.attention()


class _Watched(ABC):
    """A `Decodable` that passes all on to a model, and writes down what a search of one sentence asks of it."""

    def __init__(self, model: Decodable[Any], names: Sequence[str], go_on: Callable[[], None]) -> None:
        self.model, self.names, self.go_on = model, names, go_on
        self.pad_id, self.bos_id, self.eos_id = model.pad_id, model.bos_id, model.eos_id
        most: int | None = getattr(model, "max_len", None)
        if most is not None:
            self.max_len = most
        self.steps: list[Step] = []
        self.nodes = [Node(0, -1, 0, model.bos_id, self.text(model.bos_id), 0.0, 0.0, "live")]
        self.children: dict[tuple[int, int], int] = {}
        self.at: list[int] = [0]
        """The node of each row."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # pyright: ignore[reportAttributeAccessIssue]

    def text(self, token: int) -> str:
        name = self.names[token]
        return name.replace("▁", " ").strip() or name

    def start(self, src: Int[Tensor, "b s"]) -> _WatchedState:
        return _WatchedState(self.model.start(src))

    def step(self, tokens: Int[Tensor, " n"], state: _WatchedState) -> Float[Tensor, "n vocab"]:
        self.go_on()
        logits = self.model.step(tokens, state.inner)
        if self.steps:
            self._follow(tokens.tolist(), state.rows)
        state.rows = list(range(len(tokens)))
        self._write_down(torch.log_softmax(logits, dim=-1, dtype=torch.float32))
        self._look_ahead(logits)
        return logits

    def _follow(self, tokens: list[int], rows: list[int]) -> None:
        """Which node each row now stands at; of equal ones, which only fill the beam up, the first counts."""
        found: list[int] = []
        for token, row in zip(tokens, rows, strict=True):
            node = self.children.get((self.at[row], token), UNKNOWN)
            found.append(UNKNOWN if node in found or node == UNKNOWN else node)
        self.at = found

    def _write_down(self, log_probs: Float[Tensor, "n vocab"]) -> None:
        best, ids = log_probs.topk(min(TOPK, log_probs.shape[1]), dim=1)
        live: list[Live] = []
        for node, lps, tokens in zip(self.at, best.tolist(), ids.tolist(), strict=True):
            if node != UNKNOWN:
                topk = [Candidate(token, self.text(token), short(lp)) for token, lp in zip(tokens, lps, strict=True)]
                rest = max(0.0, 1.0 - math.fsum(math.exp(lp) for lp in lps)) if len(lps) < len(self.names) else 0.0
                live.append(Live(node, self.nodes[node].cum, topk, short(rest)))
        self.steps.append(Step(len(self.steps) + 1, live))

    @abstractmethod
    def _look_ahead(self, logits: Float[Tensor, "n vocab"]) -> None:
        """Make the nodes of the next step."""

    def add(self, parent: int, token: int, lp: float, cum: float, state: Any) -> int:
        node = Node(len(self.nodes), parent, len(self.steps), token, self.text(token), short(lp), short(cum), state)
        self.nodes.append(node)
        self.children[parent, token] = node.id
        return node.id

    def path(self, node: int) -> list[Node]:
        """The nodes from the begin, which is left out, to a node."""
        found: list[Node] = []
        while node > 0:
            found.append(self.nodes[node])
            node = self.nodes[node].parent
        return found[::-1]

    def finished(
        self, results: Sequence[Hypothesis], others: bool, tokenizer: Tokenizer, settings: DecodingSettings
    ) -> list[Finished]:
        """The results, each with its node, and with `others` all that ended on the way too; best first."""
        found: dict[int, Hypothesis] = {}
        for each in results:
            node = 0
            for token in [*each.tokens, *([self.eos_id] if each.finished else [])]:
                node = self.children[node, token]
            found[node] = each
        for node in self.nodes if others else ():
            if node.state == "finished" and node.id not in found:
                path = self.path(node.id)
                lps = [each.lp for each in path]
                found[node.id] = hypothesis([each.token for each in path[:-1]], lps, True, settings)
        ranked = sorted(found.items(), key=lambda item: -item[1].score)  # of equals the search's own first
        return [
            Finished(node, each.tokens, tokenizer.decode_tgt(each.tokens), each.log_prob, each.score)
            for node, each in ranked
        ]


class _Searched(_Watched):
    """Candidates are found as the beam search finds them, from the same numbers by the same functions."""

    def __init__(
        self,
        model: Decodable[Any],
        names: Sequence[str],
        rules: Rules,
        settings: DecodingSettings,
        go_on: Callable[[], None],
    ) -> None:
        super().__init__(model, names, go_on)
        self.rules, self.settings = rules, settings

    def _look_ahead(self, logits: Tensor) -> None:
        t, beam = len(self.steps) - 1, self.settings.beam
        so_far = [
            [each.token for each in self.path(node)] if node != UNKNOWN else [self.pad_id] * t for node in self.at
        ]
        tokens = torch.tensor(so_far, dtype=torch.long, device=logits.device).view(len(so_far), t)
        log_probs = self.rules.log_probs(logits, tokens, [0] * len(so_far))
        cums = [-math.inf if node == UNKNOWN else self.nodes[node].cum for node in self.at]
        cum = torch.tensor(cums, dtype=torch.float32, device=logits.device)[None]
        found = best_candidates(Beams(cum, tokens[None], log_probs.new_empty(1, len(so_far), t)), log_probs, 2 * beam)
        columns = (each[0].tolist() for each in (found.parent, found.token, found.token_log_prob, found.log_prob))
        going_on = 0
        for rank, (row, token, lp, whole) in enumerate(zip(*columns, strict=True)):
            if whole == -math.inf or whole != whole:
                continue
            state = "pruned"
            if token == self.eos_id:
                state = "finished" if rank < beam else "pruned"
                if beam == 1 and rank == 0:
                    going_on = beam  # the greedy search ends here
            elif going_on < beam:
                state, going_on = "live", going_on + 1
            self.add(self.at[row], token, lp, whole, state)


class _Given(_Watched):
    """Candidates are the tokens of a translation that is there already."""

    def __init__(
        self, model: Decodable[Any], names: Sequence[str], tokens: Sequence[int], go_on: Callable[[], None]
    ) -> None:
        super().__init__(model, names, go_on)
        self.given = tokens

    def _look_ahead(self, logits: Tensor) -> None:
        token, [before] = self.given[len(self.steps) - 1], self.at
        lp = float(torch.log_softmax(logits, dim=-1, dtype=torch.float32)[0, token])
        self.add(before, token, lp, self.nodes[before].cum + lp, "finished" if token == self.eos_id else "live")


def search(
    model: Decodable[Any],
    tokenizer: Tokenizer,
    src: Int[Tensor, "1 s"],
    settings: DecodingSettings,
    prefix: Sequence[int] = (),
    go_on: Callable[[], None] = lambda: None,
) -> Decode:
    """Search for a translation of one sentence, greedily with a beam of 1, and tell all of it. `prefix` are tokens that it
    begins with; `go_on` is called before every step, and may raise an error to end the search.

    What is found is what `decoding.beam_search` or `decoding.greedy` finds, which do the searching: `settings` must not ask for
    samples, nor for groups of beams. Beside the `n_best` results everything is told that ended on the way; with a coverage
    penalty, which only the search can tell of, the results alone.
    """
    constraints = [Constraint(tuple(prefix))] if prefix else None
    rules = Rules(model, src, settings, constraints)
    watched = _Searched(model, tokenizer.names_tgt(), rules, settings, go_on)
    if settings.beam == 1:
        found = greedy(watched, src, settings, constraints)
    else:
        [found] = beam_search(watched, src, settings, constraints)
    finished = watched.finished(found, found[0].finished and not settings.coverage_penalty, tokenizer, settings)
    return _told(watched, "greedy" if settings.beam == 1 else "beam", settings, rules.limits[0], finished)


def given(
    model: Decodable[Any],
    tokenizer: Tokenizer,
    src: Int[Tensor, "1 s"],
    tokens: Sequence[int],
    settings: DecodingSettings,
    go_on: Callable[[], None] = lambda: None,
) -> Decode:
    """A translation that is there already, `tokens` with the end, step by step, as if a search had found it."""
    watched = _Given(model, tokenizer.names_tgt(), tokens, go_on)
    tgt = torch.tensor([list(tokens)], dtype=torch.long, device=src.device)
    found = score(watched, src, tgt, settings)
    return _told(watched, "forced", settings, len(tokens), watched.finished(found, False, tokenizer, settings))


def _told(watched: _Watched, method: Any, settings: DecodingSettings, limit: int, finished: list[Finished]) -> Decode:
    return Decode(
        method=method,
        beam=settings.beam if method == "beam" else 1,
        length_penalty=settings.length_penalty,
        length_norm=settings.length_norm,
        max_len=limit,
        steps=watched.steps,
        nodes=watched.nodes,
        finished=finished,
        chosen=0,
    )
