"""torch.nn.Transformer, with the embedding, sinusoids and tied output that its users write around it."""

import math

import torch
from torch import Tensor, nn
from worker import Batch, Plain, Sizes, smoothed


class Translator(nn.Module):
    positions: Tensor

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.embed = nn.Embedding(sizes.vocab_size, sizes.d_model)
        nn.init.normal_(self.embed.weight, std=sizes.d_model**-0.5)
        self.dropout = nn.Dropout(sizes.dropout)
        self.transformer = nn.Transformer(
            sizes.d_model, sizes.n_heads, sizes.n_layers, sizes.n_layers, sizes.d_ff, sizes.dropout, batch_first=True
        )
        angle = torch.arange(sizes.max_len)[:, None] * torch.exp(
            torch.arange(0, sizes.d_model, 2) * (-math.log(10000.0) / sizes.d_model)
        )
        self.register_buffer("positions", torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1))

    def embedded(self, ids: Tensor) -> Tensor:
        return self.dropout(self.embed(ids) * math.sqrt(self.sizes.d_model) + self.positions[: ids.shape[1]])

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        hidden_src = src == self.sizes.pad_id
        future = torch.ones(tgt.shape[1], tgt.shape[1], dtype=torch.bool, device=tgt.device).triu(1)
        hidden = self.transformer(
            self.embedded(src),
            self.embedded(tgt),
            tgt_mask=future,
            tgt_is_causal=True,
            src_key_padding_mask=hidden_src,
            memory_key_padding_mask=hidden_src,
        )
        return nn.functional.linear(hidden, self.embed.weight)


def make(sizes: Sizes, precision: str, variant: str) -> Plain:
    model = Translator(sizes)
    model.compile(dynamic=True) if variant == "compiled" else None

    def loss(batch: Batch) -> Tensor:
        return smoothed(model(batch["src"], batch["tgt_in"]), batch, sizes)

    return Plain(model, loss, precision)
