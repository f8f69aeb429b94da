"""A bundle from a folder of Hugging Face's Marian: the published OPUS-MT translators (Tiedemann and Thottingal 2020)."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers as library
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.errors import BundleError, ConfigError, UserError
from sightline.interop.hugging_face import NAMES
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.block import Block

FEEDFORWARDS = {"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}
NEVER = -1e5
"""Score of a piece that is none of a side's."""


def import_marian(folder: Path) -> Bundle:
    """Read `config.json`, `model.safetensors`, `vocab.json`, `source.spm` and `target.spm`.

    The vocabulary is put into our order: padding, begin, end, unknown, tags of target languages, pieces. Marian begins a
    translation with the padding token, so the begin token gets its embedding. Where SentencePiece finds two ways to cut a text
    equally probable, as "..." into ".." and ".", the other one may be taken here.

    Raises BundleError for what is missing or damaged, ConfigError for a setting that cannot be carried over, UserError without
    the package sentencepiece.
    """
    config = _json(folder / "config.json")
    if config.get("model_type") != "marian":
        raise ConfigError(
            f"{folder} holds a model of type {config.get('model_type')!r}; only those of type 'marian' are read."
        )
    _refuse(config, folder)
    vocab: dict[str, int] = _json(folder / "vocab.json")
    tokenizer, order = _tokenizer(folder, vocab, config)
    settings = TransformerConfig(
        d_model=config["d_model"],
        n_heads=config["encoder_attention_heads"],
        d_ff=config["encoder_ffn_dim"],
        n_encoder_layers=config["encoder_layers"],
        n_decoder_layers=config["decoder_layers"],
        feedforward=FEEDFORWARDS[config["activation_function"]],
        max_len=config["max_position_embeddings"],
        residual_dropout=config.get("dropout", 0.1),
        embedding_dropout=config.get("dropout", 0.1),
        output_bias=True,
    )
    model = build_model(settings, len(order), len(order))
    _fill(model, _weights(folder), order)
    beam = int(config.get("num_beams") or 4)
    decoding = DecodingSettings(beam=beam, length_norm="average", length_penalty=1.0, stop="first")
    src_lang, tgt_lang = _languages(folder)
    name = re.sub(r"[^\w.+ -]", "-", folder.resolve().name)
    found = BundleConfig(name=name, src_lang=src_lang, tgt_lang=tgt_lang, model=settings, decoding=decoding)
    card = f"# {name}\n\nRead from a Marian model of Hugging Face's ({config.get('_name_or_path') or folder.name}).\n"
    return Bundle(found, model.eval(), tokenizer, card)


def _refuse(config: dict[str, Any], folder: Path) -> None:
    needed = {
        "d_model": None,
        "encoder_layers": None,
        "decoder_layers": None,
        "encoder_ffn_dim": None,
        "max_position_embeddings": None,
        "pad_token_id": None,
        "eos_token_id": None,
        "encoder_attention_heads": None,
        "decoder_attention_heads": config.get("encoder_attention_heads"),
        "decoder_ffn_dim": config.get("encoder_ffn_dim"),
        "scale_embedding": True,
        "activation_function": None,
    }
    for name, only in needed.items():
        if name not in config:
            raise BundleError(f"{folder / 'config.json'} has no {name}: it is not the configuration of a Marian model.")
        if only is not None and config[name] != only:
            raise ConfigError(f"{folder} has {name} = {config[name]!r}, and only {only!r} can be carried over.")
    if config["activation_function"] not in FEEDFORWARDS:
        known = ", ".join(FEEDFORWARDS)
        raise ConfigError(
            f"{folder} has activation_function = {config['activation_function']!r}, and only {known} can be carried over."
        )
    if not config.get("share_encoder_decoder_embeddings", True):
        raise ConfigError(
            f"{folder} has share_encoder_decoder_embeddings = false, and only one vocabulary can be carried over."
        )
    if config.get("decoder_start_token_id", config["pad_token_id"]) != config["pad_token_id"]:
        raise ConfigError(
            f"{folder} begins translations with token {config['decoder_start_token_id']}, not with padding."
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path} cannot be read: give the folder of a Marian model as Hugging Face has it."
        ) from error
    except ValueError as error:
        raise BundleError(f"{path} is damaged ({error}): copy it again.") from error
    if not isinstance(found, dict):
        raise BundleError(f"{path} is damaged: it should be one JSON object.")
    return found


def _weights(folder: Path) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    if not path.is_file() and (folder / "pytorch_model.bin").is_file():
        raise BundleError(
            f"{folder} has its weights in pytorch_model.bin, a pickle, which may run any code when it is read. If you trust it, "
            "let transformers write model.safetensors: MarianMTModel.from_pretrained(DIR).save_pretrained(DIR)"
        )
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path} is missing or damaged ({error}): copy it again.") from error


def _languages(folder: Path) -> tuple[str, str]:
    path = folder / "tokenizer_config.json"
    found = _json(path) if path.is_file() else {}
    codes = (str(found.get(side) or "") for side in ("source_lang", "target_lang"))
    src, tgt = (code if re.fullmatch(r"[\w-]*", code) else "" for code in codes)
    return src, tgt


def _tokenizer(folder: Path, vocab: dict[str, int], config: dict[str, Any]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer, and which row of Marian's embedding each of our tokens takes."""
    pad, eos, unk = config["pad_token_id"], config["eos_token_id"], vocab.get("<unk>", 1)
    names = {number: name for name, number in vocab.items()}
    special = {pad, eos, unk}
    tagged = {number: name[2:-2] for number, name in sorted(names.items()) if re.fullmatch(r">>[\w-]+<<", name)}
    pieces = [number for number in sorted(names) if number not in special and number not in tagged]
    order = [pad, pad, eos, unk, *tagged, *pieces]
    tags = tuple(tagged.values())
    settings = TokenizerSettings(
        kind="unigram", vocab_size=len(order), joint=False, normalize="nfkc-all", pretokenized=True, min_frequency=1
    )
    documents = []
    for file in ("source.spm", "target.spm"):
        scores = _scores(folder / file)
        documents.append(_unigram([(names[number], scores.get(names[number], NEVER)) for number in pieces], tags))
    text = json.dumps(
        {
            "format": "sightline-tokenizer",
            "version": 1,
            "settings": settings.model_dump(),
            "tags": tags,
            "src": documents[0],
            "tgt": documents[1],
        },
        ensure_ascii=False,
    )
    return Tokenizer.from_json(text, str(folder)), order


def _unigram(listed: list[tuple[str, float]], tags: tuple[str, ...]) -> dict[str, Any]:
    """A document of the library `tokenizers`: special tokens first, under names that no text has, as `data.tokenizers` has it."""
    specials = [(f" {name}", NEVER) for name in ("<pad>", "<s>", "</s>", "<unk>", *(f"<2{tag}>" for tag in tags))]
    model = library.Tokenizer(library.models.Unigram([*specials, *listed], 3))
    model.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(r"▁[^▁]*"), "isolated")
    return json.loads(model.to_str())


def _scores(path: Path) -> dict[str, float]:
    """Pieces of a SentencePiece model and their log-probabilities."""
    try:
        import sentencepiece  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError("Reading SentencePiece models needs their package: pip install 'sightline[export]'") from error
    try:
        model: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise BundleError(f"{path} is missing or no SentencePiece model: copy it again.") from error
    numbers = range(model.get_piece_size())
    return {
        model.id_to_piece(i): model.get_score(i) for i in numbers if not (model.is_control(i) or model.is_unknown(i))
    }


@torch.no_grad()
def _fill(model: EncoderDecoder, weights: dict[str, Tensor], rows: list[int]) -> None:
    width = model.tgt_embed.position.d_model
    order = torch.stack((torch.arange(width // 2), torch.arange(width // 2) + width // 2), dim=1).flatten()
    index = torch.tensor(rows)

    def take(to: Tensor, name: str, change: Callable[[Tensor], Tensor]) -> None:
        if name not in weights:
            raise BundleError(f"model.safetensors has no {name}: it is not the file of a Marian model.")
        try:
            to.copy_(change(weights[name].float()).reshape(to.shape))
        except (IndexError, RuntimeError) as error:
            shape = tuple(weights[name].shape)
            raise BundleError(f"model.safetensors: {name} is {shape}, which does not fit config.json.") from error

    take(model.tgt_embed.tokens.weight, "model.shared.weight", lambda w: w[index][:, order])
    assert model.head.bias is not None
    if "final_logits_bias" in weights:
        take(model.head.bias, "final_logits_bias", lambda w: w[0, index])

    def linear(to: nn.Module, name: str, writes: bool) -> None:
        assert isinstance(to, nn.Linear)
        take(to.weight, f"{name}.weight", lambda w: w[order] if writes else w[:, order])
        take(to.bias, f"{name}.bias", lambda b: b[order] if writes else b)

    def norm(to: Any, name: str) -> None:
        take(to.weight, f"{name}.weight", lambda w: w[order])
        take(to.bias, f"{name}.bias", lambda b: b[order])

    def block(to: Block, at: str) -> None:
        parts: list[tuple[str, str, nn.Module | None, nn.Module | None]] = [
            ("self_attn", "self_attn_layer_norm", to.self_attn, to.self_norm),
            ("encoder_attn", "encoder_attn_layer_norm", to.cross_attn, to.cross_norm),
        ]
        for name, norm_name, attention, own_norm in parts:
            if attention is not None:
                for own, theirs in NAMES.items():
                    linear(getattr(attention, own), f"{at}.{name}.{theirs}", own == "o_proj")
                norm(own_norm, f"{at}.{norm_name}")
        linear(to.ffn.get_submodule("up_proj"), f"{at}.fc1", False)
        linear(to.ffn.get_submodule("down_proj"), f"{at}.fc2", True)
        norm(to.ffn_norm, f"{at}.final_layer_norm")

    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, each in enumerate(stack):
            block(each, f"model.{name}.layers.{i}")
