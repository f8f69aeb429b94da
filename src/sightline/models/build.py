"""The one place where names become classes."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, cast, overload

import torch
from torch import nn

from sightline.errors import ConfigError, nearest
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig
from sightline.models.convolutional import (
    Convolutional,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    ConvolutionalLayer,
)
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.recurrent import Recurrent, RecurrentDecoder, RecurrentEncoder, StateBridge
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.block import Block, Stack
from sightline.nn.cores import CORES, AttentionCore
from sightline.nn.dropout import Dropout, SharedDropout
from sightline.nn.embed import TokenEmbedding
from sightline.nn.feedforward import FEEDFORWARDS
from sightline.nn.heads import VocabularyHead
from sightline.nn.mixers import GatedConvolution
from sightline.nn.norm import NORMS
from sightline.nn.position import POSITIONS, Learned, Position
from sightline.nn.recurrent import CELLS, AttentiveLayer, Cell, RecurrentDecoderLayer, RecurrentEncoderLayer

FIRST_EMBEDDINGS = 0.1
"""Spread of the first embeddings of convolutional models (Gehring et al. 2017, section 3.5): products of queries and keys, which
are not scaled, are small with it.
"""


def _load_class(path: str, base: type, key: str) -> type:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f'{key} = "{path}" cannot be imported: {error}. Give the command in the folder of that file with '
            "PYTHONPATH=. before it, or install the package it is in."
        ) from error
    except (ImportError, AttributeError) as error:
        raise ConfigError(f'{key} = "{path}" cannot be imported: {error}. Write it as module:Class.') from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ConfigError(f'{key} = "{path}" is not a subclass of {base.__name__}.')
    return found


def build_core(config: ModelConfig) -> AttentionCore:
    """One attention core as `config.attention` says, with its own arguments.

    Raises ConfigError for an unknown name, a class that is no core, or an argument its constructor does not take.
    """
    spec = {"kind": config.attention} if isinstance(config.attention, str) else dict(config.attention)
    kind = str(spec.pop("kind", "dot"))
    key = "model.attention"
    if ":" not in kind and kind not in CORES:
        if kind == "none":
            raise ConfigError(
                f'{key} = "none": only recurrent models do without attention. Choose one of {", ".join(CORES)}.'
            )
        known = [*CORES, *(["none"] if isinstance(config, RecurrentConfig) else [])]
        raise ConfigError(f'{key} = "{kind}" is not known; choose one of {", ".join(known)}.{nearest(kind, known)}')
    cls = _load_class(kind, AttentionCore, key) if ":" in kind else CORES[kind]
    takes = inspect.signature(cls).parameters
    for name in spec:
        if name not in takes:
            raise ConfigError(f"{key}.{name} is not an argument of {cls.__name__}.{nearest(name, takes)}")
    given = {
        "dropout": config.attention_dropout,
        "n_heads": config.n_heads,
        "d_head": config.d_head,
        "max_len": config.max_len,
    }
    try:
        with torch.device("cpu"):  # a class of the user's own may compute its tables, which the meta device cannot
            return cls(**{**{name: value for name, value in given.items() if name in takes}, **spec})
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{key}: {cls.__name__} cannot be made with {spec}: {error}.") from error


@overload
def build_model(config: TransformerConfig, src_vocab_size: int, tgt_vocab_size: int) -> EncoderDecoder: ...
@overload
def build_model(config: ModelConfig, src_vocab_size: int, tgt_vocab_size: int) -> AnyModel: ...
def build_model(config: ModelConfig, src_vocab_size: int, tgt_vocab_size: int) -> AnyModel:
    """The model that `config` describes, freshly initialised from torch's default generator.

    Raises ConfigError naming the setting that cannot be.
    """
    if config.share_embeddings and src_vocab_size != tgt_vocab_size:
        raise ConfigError(
            f"model.share_embeddings needs one vocabulary for both sides, but the source has {src_vocab_size} tokens and the "
            f"target {tgt_vocab_size}. Set tokenizer.joint = true, or model.share_embeddings = false."
        )
    try:
        model = FAMILIES[type(config)](config, src_vocab_size, tgt_vocab_size)
    except (ValueError, RuntimeError, OverflowError) as error:  # more numbers than memory, or than can be counted
        raise ConfigError(f"model: {error}.") from error
    if config.share_embeddings:
        model.src_embed.tokens.weight = model.tgt_embed.tokens.weight
    if config.tie_embeddings:
        model.head.weight = cast(nn.Parameter, model.tgt_embed.tokens.weight)
    _initialise(model, config.init_std)
    return model


def _transformer(config: TransformerConfig, src_vocab_size: int, tgt_vocab_size: int) -> EncoderDecoder:
    make_position = POSITIONS[config.position]
    make_ffn = FEEDFORWARDS[config.feedforward]
    make_norm = NORMS[config.norm]

    def block(cross: bool, rotate: Any) -> Block:
        heads = (config.d_model, config.n_heads)
        kv, bias = config.n_kv_heads, config.bias
        return Block(
            SelfAttention(*heads, build_core(config), kv, bias, rotate),
            make_ffn(config.d_model, config.d_ff, config.ffn_dropout),
            make_norm,
            config.d_model,
            CrossAttention(*heads, build_core(config), kv, bias) if cross else None,
            config.norm_at,
            config.residual_dropout,
        )

    def stack(n_layers: int, cross: bool, at: Position) -> Stack:
        rotate = at.rotate if at.turns_heads else None
        blocks = [block(cross, rotate) for _ in range(n_layers)]
        return Stack(blocks, make_norm(config.d_model) if config.norm_at == "pre" else None)

    def embedding(size: int) -> TokenEmbedding:
        position = make_position(config.d_model, config.max_len, config.n_heads)
        return TokenEmbedding(size, config.d_model, position, config.embedding_dropout)

    src_embed, tgt_embed = embedding(src_vocab_size), embedding(tgt_vocab_size)
    encoder = stack(config.n_encoder_layers, False, src_embed.position)
    decoder = stack(config.n_decoder_layers, True, tgt_embed.position)
    head = VocabularyHead(tgt_vocab_size, config.d_model, config.output_bias)
    return EncoderDecoder(src_embed, tgt_embed, encoder, decoder, head)


def _recurrent(config: RecurrentConfig, src_vocab_size: int, tgt_vocab_size: int) -> Recurrent:
    width, make_dropout = config.width, SharedDropout if config.variational else Dropout

    def cell(d_in: int) -> Cell:
        return CELLS[config.cell](d_in, width, config.layer_norm, config.recurrent_dropout)

    def embedding(size: int) -> TokenEmbedding:
        position = Position(config.d_model, config.max_len, config.n_heads)
        return TokenEmbedding(size, config.d_model, position, make_dropout(config.embedding_dropout))

    def reader(d_in: int) -> RecurrentEncoderLayer:
        return RecurrentEncoderLayer(
            cell(d_in), cell(d_in) if config.bidirectional else None, make_dropout(config.residual_dropout)
        )

    def writer(d_in: int) -> RecurrentDecoderLayer:
        return RecurrentDecoderLayer(cell(d_in), make_dropout(config.residual_dropout))

    src_embed, tgt_embed = embedding(src_vocab_size), embedding(tgt_vocab_size)
    d_memory = 2 * width if config.bidirectional else width
    readers = [reader(config.d_model if i == 0 else d_memory) for i in range(config.n_encoder_layers)]
    encoder = RecurrentEncoder(readers, config.residual)
    if config.attention == "none":
        first = writer(config.d_model)
    else:
        cross = CrossAttention(width, config.n_heads, build_core(config), None, config.bias, d_memory)
        fed = config.attend == "before" or (config.attend == "after" and config.input_feeding)
        first = AttentiveLayer(
            cell(config.d_model + (width if fed else 0)),
            cross,
            config.attend,
            config.input_feeding,
            make_dropout(config.residual_dropout),
            cell(width) if config.attend == "between" else None,
        )
    writers = [writer(width) for _ in range(config.n_decoder_layers - 1)]
    decoder = RecurrentDecoder(first, writers, config.d_model, config.residual)
    bridge = StateBridge(config.bridge, encoder, config.n_decoder_layers, width, CELLS[config.cell].parts)
    head = VocabularyHead(tgt_vocab_size, config.d_model, config.output_bias)
    return Recurrent(src_embed, tgt_embed, encoder, decoder, head, bridge)


def _convolutional(config: ConvolutionalConfig, src_vocab_size: int, tgt_vocab_size: int) -> Convolutional:
    d_model, dropout = config.d_model, config.residual_dropout

    def embedding(size: int) -> TokenEmbedding:
        position = POSITIONS[config.position](d_model, config.max_len, config.n_heads)
        if isinstance(position, Learned):
            nn.init.normal_(position.weight, 0.0, FIRST_EMBEDDINGS)
        return TokenEmbedding(size, d_model, position, config.embedding_dropout, 1.0, FIRST_EMBEDDINGS)

    def layer(cross: bool) -> ConvolutionalLayer:
        conv = GatedConvolution(d_model, config.kernel_size, config.weight_norm, dropout)
        cross_attn = CrossAttention(d_model, config.n_heads, build_core(config), None, config.bias) if cross else None
        return ConvolutionalLayer(conv, cross_attn, dropout)

    src_embed, tgt_embed = embedding(src_vocab_size), embedding(tgt_vocab_size)
    encoder = ConvolutionalEncoder([layer(False) for _ in range(config.n_encoder_layers)], d_model)
    decoder = ConvolutionalDecoder([layer(True) for _ in range(config.n_decoder_layers)], d_model, dropout)
    head = VocabularyHead(tgt_vocab_size, d_model, config.output_bias)
    return Convolutional(src_embed, tgt_embed, encoder, decoder, head)


FAMILIES: dict[type[ModelConfig], Callable[[Any, int, int], AnyModel]] = {
    TransformerConfig: _transformer,
    RecurrentConfig: _recurrent,
    ConvolutionalConfig: _convolutional,
}
"""What makes a model of each family, before embeddings are shared and matrices drawn."""


def _initialise(model: nn.Module, std: float | None) -> None:
    """Matrices Xavier uniform, as the paper's own code has them, or normal; biases zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            if std is None:
                nn.init.xavier_uniform_(module.weight)
            else:
                nn.init.normal_(module.weight, 0.0, std)
            if cast(Any, module.bias) is not None:
                nn.init.zeros_(module.bias)
        elif std is not None and isinstance(module, (nn.Embedding, VocabularyHead)):
            nn.init.normal_(module.weight, 0.0, std)
