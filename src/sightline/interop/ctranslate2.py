"""A bundle for CTranslate2 (OpenNMT's inference engine): its weights under the names and in the layout of that engine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.bundle import Bundle
from sightline.data.tokenizers import Tokenizer
from sightline.errors import ConfigError, UserError
from sightline.files import atomic_folder
from sightline.interop.limits import transformer_of
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.block import Block
from sightline.nn.feedforward import Gated

ACTIVATIONS = {"relu": "RELU", "gelu": "GELU", "silu": "SWISH", "swiglu": "SWISH"}
QUANTIZATIONS = ("int8", "int16", "float16", "bfloat16", "int8_float16", "int8_bfloat16", "float32")


def export_ctranslate2(bundle: Bundle, folder: Path, quantization: str | None = None) -> None:
    """Write a folder that `ctranslate2.Translator` loads; `quantization` is one of its number formats for weights.

    Its sources are the pieces of `Tokenizer.pieces_src`, after the tag of the target language where there is one; the end is
    added by the engine. The folder also holds the bundle's tokenizer.

    Raises ConfigError for a model that the engine has no layers for, naming the setting; UserError without the package.
    """
    if quantization is not None and quantization not in QUANTIZATIONS:
        raise ConfigError(f"CTranslate2 knows no quantization {quantization!r}: give {', '.join(QUANTIZATIONS)}.")
    try:
        from ctranslate2.specs import common_spec, transformer_spec  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("Exporting to CTranslate2 needs its package: pip install 'sightline[export]'") from error
    tokenizer = bundle.tokenizer
    config, model = transformer_of(bundle, "CTranslate2", core=("dot",))
    shared = {
        "num_heads": config.n_heads,
        "pre_norm": config.norm_at == "pre",
        "activation": getattr(common_spec.Activation, ACTIVATIONS[config.feedforward]),
        "ffn_glu": config.feedforward == "swiglu",
        "rms_norm": config.norm == "rms",
        "num_heads_kv": config.n_kv_heads,
        "rotary_dim": config.d_model // config.n_heads if config.position == "rotary" else None,
    }
    encoder = transformer_spec.TransformerEncoderSpec(config.n_encoder_layers, **shared)
    decoder = transformer_spec.TransformerDecoderSpec(config.n_decoder_layers, **shared)
    spec: Any = transformer_spec.TransformerSpec(encoder, decoder)
    for side, stack, embed in (
        (spec.encoder, model.encoder, model.src_embed),
        (spec.decoder, model.decoder, model.tgt_embed),
    ):
        tokens = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        tokens.weight = _array(embed.tokens.weight)
        if hasattr(side, "position_encodings"):  # a scheme that adds nothing to the embeddings gives zeros
            nothing = torch.zeros(1, config.max_len, config.d_model)
            side.position_encodings.encodings = _array(embed.position(nothing)[0])
        if stack.norm is not None:
            _norm(side.layer_norm, stack.norm)
        for layer, block in zip(side.layer, stack, strict=True):
            _block(layer, block)
    spec.decoder.projection.weight = _array(model.head.weight)
    if model.head.bias is not None:
        spec.decoder.projection.bias = _array(model.head.bias)
    spec.register_source_vocabulary(_names(tokenizer.names_src()))
    spec.register_target_vocabulary(_names(tokenizer.names_tgt()))
    spec.config.unk_token, spec.config.bos_token, spec.config.eos_token = "<unk>", "<s>", "</s>"
    spec.config.decoder_start_token, spec.config.add_source_eos = "<s>", True
    spec.config.layer_norm_epsilon = _epsilon(model)
    spec.validate()
    spec.optimize(quantization=None if quantization == "float32" else quantization)
    with atomic_folder(folder) as partial:
        spec.save(str(partial))
        tokenizer.save(partial / "tokenizer.json")
        (partial / "sightline.json").write_text(
            json.dumps(_how_to(tokenizer), ensure_ascii=False, indent=1), encoding="utf-8"
        )


def _how_to(tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "options": {"suppress_sequences": [["<pad>"], ["<s>"]], "min_decoding_length": 0},
        "source": "tag of the target language, if there are tags, then the pieces; the end is added by the engine",
        "tags": {tag: tokenizer.names_src()[tokenizer.tag_id(tag)] for tag in tokenizer.tags},
        "pieces": "sightline.data.tokenizers.Tokenizer.load('tokenizer.json').pieces_src(text)",
    }


def _names(names: list[str]) -> list[str]:
    """Names of tokens, each once: a piece of text that is spelt like a special token gets a mark after it."""
    found: dict[str, None] = {}
    for name in names:
        while name in found:
            name += "\u2063"
        found[name] = None
    return list(found)


def _epsilon(model: nn.Module) -> float:
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm | nn.RMSNorm)]
    return norms[0].eps or torch.finfo(torch.float32).eps


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().contiguous().numpy()


def _block(spec: Any, block: Block) -> None:
    _attention(spec.self_attention, block.self_attn, block.self_norm)
    if block.cross_attn is not None and block.cross_norm is not None:
        _attention(spec.attention, block.cross_attn, block.cross_norm)
    _norm(spec.ffn.layer_norm, block.ffn_norm)
    ffn: Any = block.ffn
    if isinstance(ffn, Gated):
        _linear(spec.ffn.linear_0, ffn.gate_proj)
        _linear(spec.ffn.linear_0_noact, ffn.up_proj)
    else:
        _linear(spec.ffn.linear_0, ffn.up_proj)
    _linear(spec.ffn.linear_1, ffn.down_proj)


def _attention(spec: Any, attention: SelfAttention | CrossAttention, norm: nn.Module) -> None:
    _norm(spec.layer_norm, norm)
    q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
    groups = [[q, k, v]] if isinstance(attention, SelfAttention) else [[q], [k, v]]
    for linear, parts in zip(spec.linear, groups, strict=False):
        linear.weight = np.concatenate([_array(part.weight) for part in parts])
        if q.bias is not None:
            linear.bias = np.concatenate([_array(part.bias) for part in parts])
    _linear(spec.linear[-1], attention.o_proj)


def _linear(spec: Any, linear: nn.Linear) -> None:
    spec.weight = _array(linear.weight)
    if linear.bias is not None:
        spec.bias = _array(linear.bias)


def _norm(spec: Any, norm: Any) -> None:
    spec.gamma = _array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        spec.beta = _array(norm.bias)
