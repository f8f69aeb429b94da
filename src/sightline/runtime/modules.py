"""A model in memory as the library of the extra `native` takes it: what its modules are, whatever its settings once said."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from sightline.bundle import named_weights
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.layout import layout
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.block import Block
from sightline.nn.cores import CORES
from sightline.nn.embed import TokenEmbedding
from sightline.nn.feedforward import ACTIVATIONS, FeedForward, Gated
from sightline.nn.norm import NORMS
from sightline.nn.position import POSITIONS, Rotary, Sinusoidal
from sightline.runtime.native import KNOWN, NotNative, Parts, rotations, sinusoids


def parts_of_modules(model: AnyModel) -> Parts:
    """Raises NotNative if they are not what settings can say."""
    if not isinstance(model, EncoderDecoder):
        raise NotNative("its library is for Transformers")
    if model.src_embed.tokens.weight.device.type != "cpu":
        raise NotNative("the model is on a GPU")
    blocks: list[Block] = [*model.encoder, *model.decoder]
    norms = [norm for stack in (model.encoder, model.decoder) if (norm := stack.norm) is not None]
    for block in blocks:
        norms += [norm for norm in (block.self_norm, block.cross_norm, block.ffn_norm) if norm is not None]
    attentions = [each for each in model.modules() if isinstance(each, SelfAttention | CrossAttention)]
    known = {
        "attention": {_name(each.core, "attention", CORES) for each in attentions},
        "position": {_position(each) for each in (model.src_embed, model.tgt_embed)},
        "feedforward": {_feedforward(block.ffn) for block in blocks},
        "norm": {_norm(norm) for norm in norms},
        "norm_at": {block.norm_at for block in blocks},
        "n_heads": {each.n_heads for each in attentions},
        "n_kv_heads": {each.n_kv_heads for each in attentions},
        "max_len": {each.position.max_len for each in (model.src_embed, model.tgt_embed)},
    }
    first, weights = attentions[0], named_weights(model)
    config = TransformerConfig(
        d_model=first.n_heads * first.d_head,
        d_ff=blocks[0].ffn.up_proj.out_features,  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        n_encoder_layers=len(model.encoder),
        n_decoder_layers=len(model.decoder),
        bias="encoder.0.self_attn.q_proj.bias" in weights,
        output_bias="head.bias" in weights,
        tie_embeddings=model.head.weight is model.tgt_embed.tokens.weight,
        share_embeddings=model.src_embed.tokens.weight is model.tgt_embed.tokens.weight,
        **{key: next(iter(found)) for key, found in known.items()},
    )
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    sizes = len(model.src_embed.tokens.weight), len(model.tgt_embed.tokens.weight)
    if any(len(found) > 1 for found in known.values()) or layout(config, *sizes) != shapes:
        raise NotNative("its library does not know layers of different kinds in one model")
    ids = model.pad_id, model.bos_id, model.eos_id
    return Parts(config, shapes, lambda name: weights[name].float().contiguous().numpy(), lambda: model, ids)


def _name(module: nn.Module, key: str, table: Mapping[str, type]) -> str:
    """What settings call a module."""
    for name in KNOWN[key]:
        if type(module) is table[name]:
            return name
    raise NotNative(f"its library does not know {type(module).__name__}")


def _position(embed: TokenEmbedding) -> str:
    position = embed.position
    name, size = _name(position, "position", POSITIONS), position.d_model
    if isinstance(position, Sinusoidal):
        own, table = position.table, sinusoids(position.max_len, size)
    elif isinstance(position, Rotary):
        own, table = position.angles, rotations(position.max_len, size // position.n_heads)
    else:
        own, table = torch.empty(0), None
    if table is not None and not torch.allclose(own[: len(table)].float(), torch.from_numpy(table), atol=1e-6):
        raise NotNative("its library does not know other sines")
    if embed.scale != math.sqrt(size):
        raise NotNative("its library does not know embeddings of another scale")
    return name


def _feedforward(ffn: nn.Module) -> str:
    if type(ffn) is Gated and ffn.activation is ACTIVATIONS["silu"]:
        return "swiglu"
    if type(ffn) is FeedForward:
        for name, activation in ACTIVATIONS.items():
            if ffn.activation is activation:
                return name
    raise NotNative("its library does not know such a feed-forward network")


def _norm(norm: nn.Module) -> str:
    name = _name(norm, "norm", NORMS)
    if norm.eps != NORMS[name](1).eps:
        raise NotNative(f"its library does not know {type(norm).__name__} with eps = {norm.eps}")
    return name
