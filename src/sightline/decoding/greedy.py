"""Greedy search: always the most probable next token."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sightline.decoding.protocol import (
    Decodable,
    DecodingSettings,
    Hypothesis,
    hypothesis,
    keep_rows,
    length_limits,
    next_log_probs,
)


@torch.inference_mode()
def greedy(model: Decodable[Any], src: Int[Tensor, "b s"], settings: DecodingSettings) -> list[Hypothesis]:
    """The greedy translation of each sentence, in the order of `src`.

    Of equally probable tokens the one with the lower number is taken. Sentences leave the batch as they end; none
    depends on the others. Of the settings, `beam`, `n_best` and `stop` mean nothing here.
    """
    if not len(src):
        return []
    limits = length_limits(model, src, settings)
    tokens: list[list[int]] = [[] for _ in limits]
    token_log_probs: list[list[float]] = [[] for _ in limits]
    finished = [False] * len(limits)
    state = model.start(src)
    newest = src.new_full((len(limits),), model.bos_id)
    active = list(range(len(limits)))
    length = 0
    while active:
        length += 1
        log_probs = next_log_probs(model.step(newest, state), model, may_end=length > settings.min_len)
        newest = log_probs.argmax(dim=-1)  # the first of equals
        chosen = log_probs.gather(1, newest[:, None])[:, 0]
        stay = []
        for row, (sentence, token, log_prob) in enumerate(zip(active, newest.tolist(), chosen.tolist(), strict=True)):
            token_log_probs[sentence].append(log_prob)
            if token == model.eos_id:
                finished[sentence] = True
                continue
            tokens[sentence].append(token)
            if length < limits[sentence]:
                stay.append(row)
        if stay:
            rows = torch.tensor(stay, device=src.device)
            keep_rows(state, rows, len(active))
            newest = newest[rows]
        active = [active[row] for row in stay]
    return [
        hypothesis(ids, each, ended, settings)
        for ids, each, ended in zip(tokens, token_log_probs, finished, strict=True)
    ]
