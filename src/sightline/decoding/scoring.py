"""Forced scoring: how probable a model finds a translation that is already there."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sightline.decoding.hypothesis import Hypothesis, hypothesis
from sightline.decoding.protocol import Decodable
from sightline.decoding.settings import DecodingSettings

DEFAULTS = DecodingSettings()


@torch.inference_mode()
def score(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    tgt: Int[Tensor, "b t"],
    settings: DecodingSettings = DEFAULTS,
) -> list[Hypothesis]:
    """The given translations with their log-probabilities, as if a search had found them.

    `tgt` has no `bos`; each row is its tokens, `eos`, then padding (as a tokenizer encodes a target). A row without
    `eos` is scored as an unfinished translation. Of the settings only the length norm counts.
    """
    if len(src) != len(tgt):
        raise ValueError(f"src has {len(src)} rows and tgt {len(tgt)}: each source needs its translation")
    state = model.start(src)
    newest = tgt.new_full((len(tgt),), model.bos_id)
    columns = []
    for column in tgt.unbind(dim=1):
        log_probs = torch.log_softmax(model.step(newest, state), dim=-1, dtype=torch.float32)
        columns.append(log_probs.gather(1, column[:, None]))
        newest = column
    log_probs = torch.cat(columns, dim=1) if columns else tgt.new_zeros(tgt.shape, dtype=torch.float32)
    rows = zip(tgt.tolist(), log_probs.tolist(), strict=True)
    return [_hypothesis(ids, each, model, settings) for ids, each in rows]


def _hypothesis(
    ids: list[int], log_probs: list[float], model: Decodable[Any], settings: DecodingSettings
) -> Hypothesis:
    end = next((i for i, token in enumerate(ids) if token in (model.eos_id, model.pad_id)), len(ids))
    finished = end < len(ids) and ids[end] == model.eos_id
    return hypothesis(ids[:end], log_probs[: end + finished], finished, settings)
