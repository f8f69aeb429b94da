"""sightline's own step, as `sightline train` takes it; the variant says whether blocks are compiled."""

import torch
from worker import DEVICE, Batch, Sizes

from sightline.models.build import ModelConfig, build_model
from sightline.tasks.translation import translation_loss
from sightline.training.devices import settle
from sightline.training.optim import clip, make_optimizer
from sightline.training.settings import TrainSettings
from sightline.training.working import WorkingCopy


class Step:
    def __init__(self, sizes: Sizes, precision: str, *, compiled: bool) -> None:
        settle(torch.get_num_threads())
        config = ModelConfig(
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
        self.working = WorkingCopy(self.model, precision, compiled=compiled)
        self.optimizer = make_optimizer(self.model, TrainSettings(optimizer="adam", lr=1e-4), precision)
        self.smoothing = sizes.label_smoothing

    def __call__(self, batch: Batch, count: int) -> float:
        self.working.refresh()
        given = batch["src"], batch["tgt_in"], batch["tgt_out"]
        loss = translation_loss(self.working.model, *given, self.smoothing, real=batch["real"])
        (loss / count).backward()
        self.working.hand_over()
        total, _ = torch.stack((loss.detach(), clip(self.model, 1.0))).tolist()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total / count


def make(sizes: Sizes, precision: str, variant: str) -> Step:
    return Step(sizes, precision, compiled=variant == "compiled")
