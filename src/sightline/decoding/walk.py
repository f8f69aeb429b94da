"""Searches that follow one hypothesis a row: the most probable next token each time, or whichever is chosen."""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.decoding.constraints import Rules
from sightline.decoding.hypothesis import Hypothesis, hypothesis
from sightline.decoding.phrases import Constraint
from sightline.decoding.protocol import Decodable, keep_rows
from sightline.decoding.settings import DecodingSettings

Choose = Callable[[Float[Tensor, "n vocab"], list[int]], Int[Tensor, " n"]]
"""From the log-probabilities of some rows, and the rows' numbers in the batch, to a token for each."""


def greedy(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    settings: DecodingSettings,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[Hypothesis]:
    """The greedy translation of each sentence, in the order of `src`.

    Of equally probable tokens the one with the lower number is taken. Sentences leave the batch as they end; none
    depends on the others. Of the settings, `beam`, `n_best` and `stop` mean nothing here.

    Raises ValueError if a constraint has phrases to include: a single hypothesis may never come to them (`beam_search` does).
    """
    if any(constraint is not None and constraint.include for constraint in constraints or ()):
        raise ValueError("the greedy search cannot promise phrases to be included: search with a beam")
    return walk(model, src, settings, constraints, most_probable)


def most_probable(log_probs: Float[Tensor, "n vocab"], _rows: list[int]) -> Int[Tensor, " n"]:
    """The greedy choice; the first of equals."""
    return log_probs.argmax(dim=-1)


def walk(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    settings: DecodingSettings,
    constraints: Sequence[Constraint | None] | None,
    choose: Choose,
) -> list[Hypothesis]:
    """A translation of each row of `src` by the tokens that are chosen, one after another."""
    steps = walking(model, src, settings, constraints, choose)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


@torch.inference_mode()
def walking(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    settings: DecodingSettings,
    constraints: Sequence[Constraint | None] | None,
    choose: Choose,
) -> Generator[list[list[int]], None, list[Hypothesis]]:
    """As `walk`, which is what it returns in the end; after each step it yields the tokens of every row so far."""
    if not len(src):
        return []
    rules = Rules(model, src, settings, constraints)
    limits = rules.limits
    token_log_probs: list[list[float]] = [[] for _ in limits]
    results: list[list[int]] = [[] for _ in limits]
    finished = [False] * len(limits)
    state = model.start(src)
    newest, tokens = src.new_full((len(limits),), model.bos_id), src.new_empty(len(limits), 0)
    active = list(range(len(limits)))
    while active:
        log_probs = rules.log_probs(model.step(newest, state), tokens, active)
        newest = choose(log_probs, active)
        chosen = log_probs.gather(1, newest[:, None])[:, 0]
        stay = []
        for row, (sentence, token, log_prob) in enumerate(zip(active, newest.tolist(), chosen.tolist(), strict=True)):
            if log_prob == -torch.inf or log_prob != log_prob:  # nothing is allowed, or the model is broken
                continue
            token_log_probs[sentence].append(log_prob)
            if token == model.eos_id:
                finished[sentence] = True
                continue
            results[sentence].append(token)
            if len(results[sentence]) < limits[sentence]:
                stay.append(row)
        if stay:
            rows = torch.tensor(stay, device=src.device)
            keep_rows(state, rows, len(active))
            newest = newest[rows]
            tokens = torch.cat((tokens[rows], newest[:, None]), dim=1)
        active = [active[row] for row in stay]
        yield results
    return [
        hypothesis(ids, each, ended, settings)
        for ids, each, ended in zip(results, token_log_probs, finished, strict=True)
    ]
