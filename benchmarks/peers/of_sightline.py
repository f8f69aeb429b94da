"""sightline's own step, as `sightline train` takes it. The variant "compiled" is that on a GPU: packed batches, compiled blocks,
recorded and replayed.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from worker import DEVICE, Batch, Sizes

from sightline.data import batches
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import Packing
from sightline.tasks.task import Loss
from sightline.tasks.translation import translation_loss
from sightline.training.devices import settle
from sightline.training.optim import clip, make_optimizer, set_learning_rate
from sightline.training.replay import at_work
from sightline.training.settings import TrainSettings

WIDTH = 128
"""Tokens of a packed row."""


class Step:
    def __init__(self, sizes: Sizes, precision: str, *, compiled: bool) -> None:
        settle(torch.get_num_threads())
        config = TransformerConfig(
            d_model=sizes.d_model,
            n_heads=sizes.n_heads,
            d_ff=sizes.d_ff,
            n_encoder_layers=sizes.n_layers,
            n_decoder_layers=sizes.n_layers,
            max_len=sizes.max_len,
            embedding_dropout=sizes.dropout,
            residual_dropout=sizes.dropout,
            attention_dropout=sizes.dropout,
            ffn_dropout=sizes.dropout,
        )
        self.model = build_model(config, sizes.vocab_size, sizes.vocab_size).to(DEVICE)
        assert (self.model.pad_id, self.model.bos_id, self.model.eos_id) == (sizes.pad_id, sizes.bos_id, sizes.eos_id)
        self.model.train()
        self.parameters = list(self.model.parameters())
        self.working = at_work(self.model, precision, compiled=compiled)
        self.optimizer = make_optimizer(self.model, TrainSettings(optimizer="adam"), precision)
        set_learning_rate(self.optimizer, 1e-4)
        self.sizes, self.packed = sizes, compiled and DEVICE.type == "cuda"
        self.made: dict[int, batches.Batch] = {}

    def prepare(self, given: Sequence[Batch]) -> None:
        """Batches as a training makes them: packed, all of the shape that the fullest of them needs, or padded."""
        pairs = [list(enumerate(self._pairs(batch))) for batch in given]
        rows = max(-(-max(batch["src"].numel(), batch["tgt_out"].numel()) // WIDTH) for batch in given)
        while self.packed:
            packed = [list(batches.pack(each, rows, WIDTH)) for each in pairs]
            if all(len(found) == 1 for found in packed):
                break
            rows += 1
        for k, batch in enumerate(given):
            sentences = [pair for _, pair in pairs[k]]
            ids = self.sizes.pad_id, self.sizes.bos_id
            plain = batches.collate(sentences, np.arange(len(sentences)), *ids)
            made = batches.collate_packed(packed[k][0], WIDTH, *ids) if self.packed else plain
            self.made[batch["src"].data_ptr()] = made.to(DEVICE)

    def _pairs(self, batch: Batch) -> list[batches.Ids]:
        sides = [[row[row != self.sizes.pad_id] for row in batch[name].cpu().numpy()] for name in ("src", "tgt_out")]
        return list(zip(*sides, strict=True))

    def loss(self, model: nn.Module, batch: batches.Batch) -> Loss:
        """As of a task."""
        packing = None if batch.segments is None else Packing(*batch.segments)
        given = batch.src, batch.tgt_in, batch.tgt_out, self.sizes.label_smoothing
        return Loss(translation_loss(model, *given, real=batch.real, packing=packing), batch.n_tgt)

    def __call__(self, batch: Batch, count: int) -> float:
        total = self.working.gradient(self, self.made[batch["src"].data_ptr()], count)
        summed, _ = torch.stack((total, clip(self.model, 1.0))).tolist()
        self.working.update(self.optimizer)
        return summed / count


def make(sizes: Sizes, precision: str, variant: str) -> Step:
    return Step(sizes, precision, compiled=variant == "compiled")
