"""A bundle for Hugging Face transformers: Marian's layout, or Pegasus' where norms come first."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sightline.bundle import Bundle
from sightline.files import atomic_folder
from sightline.interop.limits import transformer_of
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.block import Block, Stack

FAMILIES = {"post": ("marian", "MarianMTModel"), "pre": ("pegasus", "PegasusForConditionalGeneration")}
"""By `model.norm_at`: the type of the configuration and the class that reads it."""
NAMES = {"q_proj": "q_proj", "k_proj": "k_proj", "v_proj": "v_proj", "o_proj": "out_proj"}


def export_hugging_face(bundle: Bundle, folder: Path) -> str:
    """Write a folder that the named class of transformers reads with `from_pretrained`. Returns the class's name.

    Sources are token ids as `Tokenizer.encode_src` gives them; the folder also holds the bundle's tokenizer. Hugging Face's
    sinusoids are all sines and then all cosines, ours alternate: every vector between blocks is written in that other order.

    Raises ConfigError for a model that neither class has layers for, naming the setting.
    """
    every = {"core": ("dot",), "position": ("sinusoidal",), "norm": ("layer",), "feedforward": ("relu", "gelu", "silu")}
    config, model = transformer_of(bundle, "Hugging Face's Marian (and Pegasus)", plain_heads=True, **every)
    tokenizer = bundle.tokenizer
    kind, name = FAMILIES[config.norm_at]
    decoding = bundle.config.decoding
    content: dict[str, Any] = {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": tokenizer.src_vocab_size,
        "decoder_vocab_size": tokenizer.tgt_vocab_size,
        "share_encoder_decoder_embeddings": config.share_embeddings,
        "tie_word_embeddings": config.tie_embeddings,
        "d_model": config.d_model,
        "encoder_layers": config.n_encoder_layers,
        "decoder_layers": config.n_decoder_layers,
        "encoder_attention_heads": config.n_heads,
        "decoder_attention_heads": config.n_heads,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "activation_function": config.feedforward,
        "max_position_embeddings": config.max_len,
        "scale_embedding": True,
        "dropout": config.residual_dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.ffn_dropout,
        "pad_token_id": model.pad_id,
        "bos_token_id": model.bos_id,
        "eos_token_id": model.eos_id,
        "decoder_start_token_id": model.bos_id,
        "forced_eos_token_id": None,
        "torch_dtype": "float32",
    }
    searching = {
        "num_beams": decoding.beam,
        "length_penalty": decoding.length_penalty if decoding.length_norm == "average" else 1.0,
        "early_stopping": True,
        "max_length": config.max_len,
        "bad_words_ids": [[model.pad_id]],
        **{key: content[key] for key in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")},
    }
    with atomic_folder(folder) as partial:
        for file, what in (("config.json", content), ("generation_config.json", searching)):
            (partial / file).write_text(json.dumps(what, indent=1), encoding="utf-8")
        save_file(_tensors(config, model), partial / "model.safetensors", {"format": "pt"})
        tokenizer.save(partial / "sightline-tokenizer.json")
    return name


def _tensors(config: TransformerConfig, model: EncoderDecoder) -> dict[str, Tensor]:
    order = torch.arange(config.d_model).view(-1, 2).T.flatten()  # the even elements, then the odd ones
    found: dict[str, Tensor] = {}
    src, tgt, out = (weight.detach()[:, order] for weight in _embeddings(model))
    if config.share_embeddings:
        found["model.shared.weight"] = src
    if not (config.share_embeddings and config.tie_embeddings):
        found["model.encoder.embed_tokens.weight"], found["model.decoder.embed_tokens.weight"] = src, tgt
    if not config.tie_embeddings:
        found["lm_head.weight"] = out
    found["final_logits_bias"] = torch.zeros(1, len(tgt)) if model.head.bias is None else model.head.bias[None]
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        found.update(_stack(f"model.{name}", stack, order))
    return {name: tensor.detach().float().clone().contiguous() for name, tensor in found.items()}


def _embeddings(model: EncoderDecoder) -> tuple[Tensor, Tensor, Tensor]:
    return model.src_embed.tokens.weight, model.tgt_embed.tokens.weight, model.head.weight


def _stack(at: str, stack: Stack, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    for i, block in enumerate(stack):
        yield from _block(f"{at}.layers.{i}", block, order)
    if stack.norm is not None:
        yield from _norm(f"{at}.layer_norm", stack.norm, order)


def _block(at: str, block: Block, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    parts: list[tuple[str, str, nn.Module, nn.Module]] = [
        ("self_attn", "self_attn_layer_norm", block.self_attn, block.self_norm)
    ]
    if block.cross_attn is not None and block.cross_norm is not None:
        parts.append(("encoder_attn", "encoder_attn_layer_norm", block.cross_attn, block.cross_norm))
    for name, norm_name, attention, norm in parts:
        for own, theirs in NAMES.items():
            yield from _linear(f"{at}.{name}.{theirs}", getattr(attention, own), order, writes=own == "o_proj")
        yield from _norm(f"{at}.{norm_name}", norm, order)
    yield from _linear(f"{at}.fc1", block.ffn.get_submodule("up_proj"), order, writes=False)
    yield from _linear(f"{at}.fc2", block.ffn.get_submodule("down_proj"), order, writes=True)
    yield from _norm(f"{at}.final_layer_norm", block.ffn_norm, order)


def _linear(at: str, linear: nn.Module, order: Tensor, *, writes: bool) -> Iterator[tuple[str, Tensor]]:
    """A layer that reads the vectors between blocks, or one that writes them."""
    assert isinstance(linear, nn.Linear)
    yield f"{at}.weight", linear.weight[order] if writes else linear.weight[:, order]
    yield f"{at}.bias", linear.bias[order] if writes else linear.bias


def _norm(at: str, norm: Any, order: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield f"{at}.weight", norm.weight[order]
    yield f"{at}.bias", norm.bias[order]
