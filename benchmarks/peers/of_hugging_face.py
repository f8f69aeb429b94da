"""MarianMT of Hugging Face transformers; the variant is its `attn_implementation`, and whether it is compiled."""

from transformers import MarianConfig, MarianMTModel
from worker import Batch, Plain, Sizes, smoothed


def make(sizes: Sizes, precision: str, variant: str) -> Plain:
    config = MarianConfig(
        vocab_size=sizes.vocab_size,
        d_model=sizes.d_model,
        encoder_layers=sizes.n_layers,
        decoder_layers=sizes.n_layers,
        encoder_attention_heads=sizes.n_heads,
        decoder_attention_heads=sizes.n_heads,
        encoder_ffn_dim=sizes.d_ff,
        decoder_ffn_dim=sizes.d_ff,
        activation_function="relu",
        dropout=sizes.dropout,
        attention_dropout=sizes.dropout,
        activation_dropout=sizes.dropout,
        scale_embedding=True,
        max_position_embeddings=sizes.max_len,
        pad_token_id=sizes.pad_id,
        eos_token_id=sizes.eos_id,
        decoder_start_token_id=sizes.bos_id,
        forced_eos_token_id=None,
        use_cache=False,
        attn_implementation=variant.split()[0],
    )
    model = MarianMTModel(config)
    if "compiled" in variant:
        model.compile(dynamic=True)

    def loss(batch: Batch):
        seen = (batch["src"] != sizes.pad_id).long()
        logits = model(input_ids=batch["src"], attention_mask=seen, decoder_input_ids=batch["tgt_in"]).logits
        return smoothed(logits, batch, sizes)

    return Plain(model, loss, precision)
