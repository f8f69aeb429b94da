"""Steps recorded and replayed on a GPU, beside ordinary ones on the processor."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.data.batches import Batch, collate_packed, pack
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import Packing
from sightline.tasks.task import Loss
from sightline.tasks.translation import translation_loss
from sightline.training.optim import clip, make_optimizer, set_learning_rate
from sightline.training.replay import at_work
from sightline.training.settings import TrainSettings
from sightline.training.working import WorkingCopy

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
SMALL = {"d_model": 64, "n_heads": 4, "d_ff": 128, "n_encoder_layers": 2, "n_decoder_layers": 2}


class Reversing:
    """A task whose targets are the sources backwards."""

    def batches(self, count: int) -> list[Batch]:
        numbers = np.random.default_rng(1)
        found: list[Batch] = []
        while len(found) < count:
            rows = [numbers.integers(3, 50, n).tolist() for n in numbers.integers(2, 9, 600)]
            pairs = ((i, ([*row, 2], [*row[::-1], 2])) for i, row in enumerate(rows))
            found += [collate_packed(packed, 64, 0, 1) for packed in pack(pairs, 16, 64)][:-1]
        return found[:count]

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        assert batch.segments is not None
        packing = Packing(*batch.segments)
        return Loss(translation_loss(model, batch.src, batch.tgt_in, batch.tgt_out, 0.1, packing=packing), batch.n_tgt)  # type: ignore[arg-type]


def train(
    model: nn.Module, working: Any, settings: TrainSettings, batches: list[Batch], accumulate: int = 1
) -> list[float]:
    optimizer, losses = make_optimizer(model, settings, "fp32"), []
    device = next(model.parameters()).device
    for k in range(0, len(batches), accumulate):
        set_learning_rate(optimizer, 3e-3 * min(1.0, (k + 1) / 50))
        held = batches[k : k + accumulate]
        count = sum(batch.n_tgt for batch in held)
        losses.append(sum(float(working.gradient(Reversing(), batch.to(device), count)) for batch in held) / count)
        clip(model, 1.0)
        working.update(optimizer)
    return losses


@pytest.mark.parametrize(("optimizer", "accumulate"), [("adam", 1), ("muon", 2)])
def test_replayed_steps_are_those_of_the_processor(optimizer: Any, accumulate: int) -> None:
    torch.manual_seed(0)
    here = build_model(
        TransformerConfig.model_validate({**SMALL, "embedding_dropout": 0.0, "residual_dropout": 0.0}), 50, 50
    ).train()
    there = copy.deepcopy(here).cuda()
    settings, batches = TrainSettings(optimizer=optimizer, weight_decay=0.1), Reversing().batches(8)
    plain = train(here, WorkingCopy(here, "fp32"), settings, batches, accumulate)
    assert train(there, at_work(there, "fp32", compiled=True), settings, batches, accumulate) == pytest.approx(
        plain, rel=1e-3
    )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_with_dropout_a_replayed_training_learns_as_an_ordinary_one(precision: str) -> None:
    dropout = {f"{place}_dropout": 0.2 for place in ("embedding", "residual", "ffn")}
    torch.manual_seed(0)
    plain = build_model(TransformerConfig.model_validate({**SMALL, **dropout}), 50, 50).cuda().train()
    other = copy.deepcopy(plain)
    batches = Reversing().batches(500)
    ends = []
    for model, working in ((plain, WorkingCopy(plain, precision)), (other, at_work(other, precision, compiled=True))):
        losses = train(model, working, TrainSettings(optimizer="muon"), batches)
        ends.append(sum(losses[-50:]) / 50)
    assert ends[0] < 2.5  # far below what is known without looking at the source
    assert ends[1] == pytest.approx(ends[0], rel=0.1)
