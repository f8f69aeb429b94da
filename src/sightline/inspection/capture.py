"""A translation with everything that the model computed on the way, seen from outside: the model does not know of it.

First the translation is searched for, then the model runs once more over the source and the whole translation, and hooks keep
what passes. Kernels stay as they are, and outputs are the same, bit for bit, with and without.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from sightline.bundle import Bundle, named_weights
from sightline.decoding.settings import DecodingSettings
from sightline.errors import UserError, nearest
from sightline.inspection.checks import deviations, incremental_deviation
from sightline.inspection.heads import head_stats
from sightline.inspection.hooks import attentions, tensor_info, watched_pass
from sightline.inspection.manifest import Decode, HeadStat, Manifest, ModelInfo, Side, StackInfo, StackName, Token
from sightline.inspection.searching import given, search
from sightline.inspection.sides import both_sides
from sightline.models.config import AnyModelConfig, ConvolutionalConfig, RecurrentConfig
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.cores import ScaledDotProduct

SRC_TOKENS = TGT_TOKENS = 512
"""The longest source and the longest translation that are captured, in tokens, the end counted."""
BEAM = 10
"""The widest beam."""
LOGITS = 20
"""Most probable tokens of each step that a capture holds."""
TEXT = 20_000
"""Characters of a text, at most: more are refused before they are cut into tokens."""


class CaptureError(UserError):
    """A request that cannot be done; `code` and `values` say the same to a program."""

    def __init__(self, code: str, message: str, **values: str | int | float) -> None:
        super().__init__(message)
        self.code, self.values = code, values


@dataclass(frozen=True)
class Request:
    """What is to be captured."""

    model: str
    """What the model is called."""
    src: str
    tgt: str | None = None
    """A translation that is there already, instead of a search."""
    to: str = ""
    """The target language; "" for a model with one."""
    method: Literal["greedy", "beam"] = "beam"
    beam: int = 4
    length_penalty: float | None = None
    """None: the model's own."""
    prefix: tuple[int, ...] = ()
    """Tokens with which the translation begins."""

    def complete(self, bundle: Bundle) -> dict[str, Any]:
        """As JSON, with everything said that it leaves open: what has the same in it is the same capture."""
        own = bundle.config.decoding.length_penalty if self.length_penalty is None else self.length_penalty
        decode = {"method": self.method, "beam": 1 if self.method == "greedy" else self.beam, "length_penalty": own}
        if self.prefix:
            decode["prefix"] = list(self.prefix)
        found: dict[str, Any] = {"model": self.model, "src": self.src, "decode": decode}
        if self.tgt is not None:
            found["tgt"] = self.tgt
        if self.to:
            found["to"] = self.to
        return found

    def id(self, bundle: Bundle, weights_sha256: str) -> str:
        """The first 16 hex digits of the SHA-256 of the complete request, as JSON with sorted keys, and the weights' own."""
        text = json.dumps(self.complete(bundle), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(f"{text}\n{weights_sha256}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass
class Capture:
    """What there is to see."""

    manifest: Manifest
    tensors: dict[str, Tensor]
    """By address, on the processor, float32 or int32; without a batch axis."""

    @property
    def nbytes(self) -> int:
        """Memory that the tensors take."""
        return sum(each.numel() * each.element_size() for each in self.tensors.values())


def weights_sha256(model: nn.Module) -> str:
    """Of the names and the float32 numbers of all weights."""
    found = hashlib.sha256()
    for name, weight in named_weights(model).items():
        found.update(name.encode())
        found.update(weight.float().cpu().contiguous().numpy().data)
    return found.hexdigest()


def model_info(bundle: Bundle, name: str, sha256: str) -> ModelInfo:
    """How a bundle's model is built, told by the model itself where it can."""
    model, config = bundle.model, bundle.config.model
    kind = config.attention if isinstance(config.attention, str) else str(config.attention.get("kind", "dot"))
    first = next(iter(attentions(model).values()), None)
    scaled = first is not None and isinstance(first.core, ScaledDotProduct)
    parts: dict[str, int] = {}
    for address, weight in named_weights(model).items():
        part = address.partition(".")[0]
        parts[part] = parts.get(part, 0) + weight.numel()
    tokens = model.src_embed.tokens, model.tgt_embed.tokens
    info = ModelInfo(
        name=name,
        family=config.kind,
        d_model=config.d_model,
        vocab={"src": tokens[0].num_embeddings, "tgt": tokens[1].num_embeddings},
        encoder_layers=len(model.encoder),
        decoder_layers=len(model.decoder),
        embed_scale=model.src_embed.scale,
        tied={"src_tgt": tokens[0].weight is tokens[1].weight, "out": model.head.weight is tokens[1].weight},
        core={"kind": kind, "scale": 1.0 / math.sqrt(first.d_head) if first is not None and scaled else None},
        parameters=sum(parts.values()),
        parameters_by_part=parts,
        stacks=stacks(model),
        weights_sha256=sha256,
    )
    return replace(info, **_of_family(model, config))


def _of_family(model: AnyModel, config: AnyModelConfig) -> dict[str, Any]:
    """What a model has that those of other families have not."""
    if isinstance(config, RecurrentConfig):
        asks = config.attention != "none"
        return {
            "cell": config.cell,
            "d_state": config.width,
            "bidirectional": config.bidirectional,
            "bridge": config.bridge,
            "attend": config.attend if asks else None,
            "input_feeding": config.input_feeding and config.attend == "after" if asks else None,
        }
    if isinstance(config, ConvolutionalConfig):
        return {"position": config.position, "kernel_size": config.kernel_size}
    eps = cast(float | None, getattr(next(iter(model.decoder)).self_norm, "eps", None))
    return {
        "d_ff": config.d_ff,
        "norm_at": config.norm_at,
        "norm": config.norm,
        "eps": torch.finfo(torch.float32).eps if eps is None else eps,  # as torch's RMSNorm takes None
        "activation": config.feedforward,
        "position": config.position,
    }


def stacks(model: AnyModel) -> list[StackInfo]:
    """The kinds of attention that a model has: three of a Transformer, of others that to the source, if any."""
    known = attentions(model)

    def info(name: StackName) -> StackInfo | None:
        part, _, which = name.partition(".")
        layers = [each for address, each in known.items() if address.startswith(f"{part}.") and address.endswith(which)]
        if not layers:
            return None
        heads, kv_heads = [each.n_heads for each in layers], [each.n_kv_heads for each in layers]
        own = "src" if part == "encoder" else "tgt"
        crossed = which == "cross_attn"
        return StackInfo(
            name=name,
            layers=len(layers),
            heads=heads,
            kv_heads=kv_heads,
            d_head=layers[0].d_head,
            q=own,
            k="src" if crossed else own,
            causal=own == "tgt" and not crossed,
        )

    return [found for name in get_args(StackName) if (found := info(name)) is not None]


def capture(
    bundle: Bundle,
    request: Request,
    *,
    sha256: str | None = None,
    full: bool = False,
    info: ModelInfo | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> Capture:
    """Translate and keep everything. `sha256` and `info` are those of the model, where they are known already; `full` adds all
    logits and all weights, of which a small model has few. `interrupted` is asked at every step whether to go on.

    Raises CaptureError for a text or a request that is refused, and where it was interrupted.
    """

    def go_on() -> None:
        if interrupted():
            raise CaptureError("interrupted", "This was stopped before it was done.")

    model, tokenizer = bundle.model, bundle.tokenizer
    sha256 = weights_sha256(model) if sha256 is None else sha256
    _check(request, bundle)
    device = model.src_embed.tokens.weight.device
    src_ids = tokenizer.encode_src([request.src], request.to)[0]
    limit = min(SRC_TOKENS, bundle.config.model.max_len)
    if len(src_ids) > limit:
        raise CaptureError(
            "src_too_long",
            f"The sentence has {len(src_ids)} tokens, and {limit} can be looked at: take a shorter one.",
            tokens=len(src_ids),
            limit=limit,
        )
    src = torch.tensor([src_ids], device=device)
    settings, warnings = _settings(request, bundle)
    with torch.inference_mode():
        decode = _decoded(request, bundle, src, settings, go_on)
    tokens = decode.finished[decode.chosen].tokens
    ended = decode.nodes[decode.finished[decode.chosen].node].state == "finished"
    labels = [*tokens, tokenizer.eos_id] if ended else tokens
    inputs = [tokenizer.bos_id, *labels[:-1]]
    if not ended:
        warnings.append({"code": "unfinished", "args": {"limit": decode.max_len}})
    tgt = torch.tensor([inputs], device=device)
    passed = watched_pass(model, src, tgt)
    tensors = passed.tensors
    log_probs = torch.log_softmax(passed.logits, dim=-1)
    best, ids = log_probs.topk(min(LOGITS, log_probs.shape[1]), dim=1)
    tensors["logits.topk.id"], tensors["logits.topk.lp"] = ids.int(), best
    checks = deviations(model, tensors, stacks(model)) | {
        "incremental_err": incremental_deviation(model, src, tgt, log_probs, go_on)
    }
    if full:
        tensors["logits"] = passed.logits
        tensors |= {name: weight.float().cpu().clone() for name, weight in named_weights(model).items()}
    sides = both_sides(bundle, request.src, request.to, src_ids, inputs, labels)
    unknown = sum(token.id == tokenizer.unk_id for token in sides[0].tokens)
    if unknown:
        warnings.append({"code": "unknown_pieces", "args": {"count": unknown}})
    info = info or model_info(bundle, request.model, sha256)
    manifest = Manifest(
        id=request.id(bundle, sha256),
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        tool={"name": "sightline", "version": version("sightline")},
        model=info,
        request=request.complete(bundle),
        src=sides[0],
        tgt=sides[1],
        labels=sides[2],
        translation=decode.finished[decode.chosen].text,
        decode=decode,
        heads=list(_heads(tensors, info.stacks, sides)),
        tensors={name: tensor_info(name, each) for name, each in tensors.items()},
        checks=checks,
        warnings=warnings,
    )
    return Capture(manifest, tensors)


def _check(request: Request, bundle: Bundle) -> None:
    """What can be refused before any work is done. Raises CaptureError."""
    tags, tokenizer = bundle.tokenizer.tags, bundle.tokenizer
    for text in (request.src, request.tgt):
        if text is not None and any("\ud800" <= sign <= "\udfff" for sign in text):
            raise CaptureError(
                "not_unicode", "The text holds half a character (a lone surrogate): it is no Unicode text."
            )
    for name, text in (("src", request.src), ("tgt", request.tgt)):
        if text is not None and len(text) > TEXT:
            message = f"The text has {len(text):,} characters, and {TEXT:,} are read: take a shorter one."
            raise CaptureError("text_too_long", message, characters=len(text), limit=TEXT)
        if text is not None and not text.strip():
            raise CaptureError(f"{name}_empty", "There is no text: give a sentence.")
    if tags and request.to not in tags:
        known = ", ".join(tags)
        message = f"This model translates to {known}, not to '{request.to}'.{nearest(request.to, tags)}"
        raise CaptureError("unknown_language", message, to=request.to, known=known)
    if not 1 <= request.beam <= BEAM:
        message = f"A beam of {request.beam} cannot be shown: give 1 to {BEAM}."
        raise CaptureError("beam_out_of_range", message, beam=request.beam, limit=BEAM)
    if request.prefix and request.tgt is not None:
        raise CaptureError("prefix_with_tgt", "A given translation needs no forced tokens: leave one of the two out.")
    if len(request.prefix) > TGT_TOKENS - 1:
        message = f"{len(request.prefix)} tokens are forced, and {TGT_TOKENS - 1} can be."
        raise CaptureError("tgt_too_long", message, tokens=len(request.prefix), limit=TGT_TOKENS - 1)
    forbidden = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    for token in request.prefix:
        if not 0 <= token < tokenizer.tgt_vocab_size or token in forbidden:
            vocab = tokenizer.tgt_vocab_size
            message = f"Token {token} cannot be forced: there are {vocab}, and begin, end and padding are not for that."
            raise CaptureError("unknown_token", message, token=token, vocab=vocab)


def _settings(request: Request, bundle: Bundle) -> tuple[DecodingSettings, list[dict[str, Any]]]:
    """The model's own settings of the search with those of the request, and what of the former is left out."""
    own = bundle.config.decoding
    beam = 1 if request.method == "greedy" else request.beam
    n_best = beam if own.coverage_penalty else 1
    changes: dict[str, Any] = {"beam": beam, "n_best": n_best, "sample": False, "mbr": 0, "beam_groups": 1}
    if request.length_penalty is not None:
        changes["length_penalty"] = request.length_penalty
    left_out = [name for name in ("sample", "mbr") if getattr(own, name)]
    left_out += ["beam_groups"] if own.beam_groups > 1 else []
    return own.model_copy(update=changes), [{"code": "setting_left_out", "args": {"name": name}} for name in left_out]


def _decoded(
    request: Request, bundle: Bundle, src: Tensor, settings: DecodingSettings, go_on: Callable[[], None]
) -> Decode:
    model, tokenizer = bundle.model, bundle.tokenizer
    most = min(TGT_TOKENS, model.max_len)
    if request.tgt is not None:
        tokens = tokenizer.encode_tgt([request.tgt])[0]
        if len(tokens) > most:
            message = f"The translation has {len(tokens)} tokens, and {most} can be looked at: take a shorter one."
            raise CaptureError("tgt_too_long", message, tokens=len(tokens), limit=most)
        return given(model, tokenizer, src, tokens, settings, go_on)
    if len(request.prefix) >= most:
        message = f"{len(request.prefix)} tokens are forced, and the model writes {most} with the end."
        raise CaptureError("tgt_too_long", message, tokens=len(request.prefix), limit=most - 1)
    longest = int(settings.max_len_ratio * src.shape[1]) + settings.max_len_extra
    if longest > most:  # as the model's own limit, but ours
        settings = settings.model_copy(update={"max_len_ratio": 0.0, "max_len_extra": most})
    return search(model, tokenizer, src, settings, request.prefix, go_on)


def _heads(
    tensors: dict[str, Tensor], kinds: Sequence[StackInfo], sides: tuple[Side, Side, list[Token]]
) -> Iterator[HeadStat]:
    tokens = {"src": sides[0].tokens, "tgt": sides[1].tokens}
    for kind in kinds:
        part, _, which = kind.name.partition(".")
        for i in range(kind.layers):
            yield from head_stats(tensors[f"{part}.{i}.{which}.weights"], kind, i, tokens[kind.q], tokens[kind.k])
