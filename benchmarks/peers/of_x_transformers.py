"""x-transformers' encoder and decoder; the variant "flash" is its `attn_flash`."""

from typing import Any

from worker import Batch, Plain, Sizes, smoothed
from x_transformers import XTransformer


def make(sizes: Sizes, precision: str, variant: str) -> Plain:
    side: dict[str, Any] = {
        "num_tokens": sizes.vocab_size,
        "max_seq_len": sizes.max_len,
        "depth": sizes.n_layers,
        "heads": sizes.n_heads,
        "attn_dim_head": sizes.d_model // sizes.n_heads,
        "ff_mult": sizes.d_ff / sizes.d_model,
        "emb_dropout": sizes.dropout,
        "attn_dropout": sizes.dropout,
        "ff_dropout": sizes.dropout,
        "attn_sublayer_dropout": sizes.dropout,
        "ff_sublayer_dropout": sizes.dropout,
        "attn_flash": "flash" in variant,
    }
    model = XTransformer(
        dim=sizes.d_model,
        tie_token_emb=True,
        **{f"{prefix}_{name}": value for prefix in ("enc", "dec") for name, value in side.items()},
    )
    decoder = model.decoder.net
    if "compiled" in variant:
        model.encoder.compile(dynamic=True)
        decoder.compile(dynamic=True)
    decoder.to_logits.weight = decoder.token_emb.emb.weight

    def loss(batch: Batch):
        seen = batch["src"] != sizes.pad_id
        memory = model.encoder(batch["src"], mask=seen, return_embeddings=True)
        logits = decoder(batch["tgt_in"], context=memory, context_mask=seen)
        return smoothed(logits, batch, sizes)

    return Plain(model, loss, precision)
