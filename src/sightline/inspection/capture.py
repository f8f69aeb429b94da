"""A translation with everything that the model computed on the way, seen from outside: the model does not know of it.

First the translation is searched for, then the model runs once more over the source and the whole translation, and hooks keep
what passes. Kernels stay as they are, and outputs are the same, bit for bit, with and without.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.bundle import Bundle, named_weights
from sightline.data.normalise import BLANK, starts_unspaced
from sightline.data.tokenizers import Span, Tokenizer
from sightline.decoding.protocol import DecodingSettings
from sightline.errors import UserError, nearest
from sightline.inspection.heads import head_stats
from sightline.inspection.manifest import Decode, HeadStat, Manifest, ModelInfo, Side, StackInfo, TensorInfo, Token
from sightline.inspection.searching import given, search
from sightline.metrics.scripts import HAN
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.cores import ScaledDotProduct
from sightline.nn.mask import Mask

SRC_TOKENS = TGT_TOKENS = 512
"""The longest source and the longest translation that are captured, in tokens, the end counted."""
BEAM = 10
"""The widest beam."""
LOGITS = 20
"""Most probable tokens of each step that a capture holds."""
PASSING = {
    *("q", "k", "v", "z", "weights", "out", "resid_pre", "resid_mid", "resid_cross", "resid_post", "pre", "post"),
    *("tokens", "position", "sum", "memory", "hidden", "logits", "id", "lp"),
}
"""How the addresses end of what passes through a model; other tensors of a capture are weights."""
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
    first = next(iter(model.decoder))
    scaled = isinstance(first.self_attn.core, ScaledDotProduct)
    eps = cast(float | None, getattr(first.self_norm, "eps", None))
    parts: dict[str, int] = {}
    for address, weight in named_weights(model).items():
        part = address.partition(".")[0]
        parts[part] = parts.get(part, 0) + weight.numel()
    tokens = model.src_embed.tokens, model.tgt_embed.tokens
    return ModelInfo(
        name=name,
        d_model=config.d_model,
        d_ff=config.d_ff,
        vocab={"src": tokens[0].num_embeddings, "tgt": tokens[1].num_embeddings},
        encoder_layers=len(model.encoder),
        decoder_layers=len(model.decoder),
        norm_at=config.norm_at,
        norm=config.norm,
        eps=torch.finfo(torch.float32).eps if eps is None else eps,  # as torch's RMSNorm takes None
        activation=config.feedforward,
        position=config.position,
        embed_scale=model.src_embed.scale,
        tied={"src_tgt": tokens[0].weight is tokens[1].weight, "out": model.head.weight is tokens[1].weight},
        core={"kind": kind, "scale": 1.0 / math.sqrt(first.self_attn.d_head) if scaled else None},
        parameters=sum(parts.values()),
        parameters_by_part=parts,
        stacks=stacks(model),
        weights_sha256=sha256,
    )


def stacks(model: EncoderDecoder) -> list[StackInfo]:
    """The three kinds of attention of a model."""
    own = [block.self_attn for block in model.encoder]
    masked = [block.self_attn for block in model.decoder]
    cross = [block.cross_attn for block in model.decoder if block.cross_attn is not None]

    def info(name: Any, layers: Sequence[Any], q: Any, k: Any, causal: bool) -> StackInfo:
        heads, kv_heads = [each.n_heads for each in layers], [each.n_kv_heads for each in layers]
        return StackInfo(name, len(layers), heads, kv_heads, layers[0].d_head, q, k, causal)

    return [
        info("encoder.self_attn", own, "src", "src", False),
        info("decoder.self_attn", masked, "tgt", "tgt", True),
        info("decoder.cross_attn", cross, "tgt", "src", False),
    ]


@contextmanager
def watching(model: EncoderDecoder) -> Iterator[dict[str, Tensor]]:
    """Inside the `with` block everything is kept, by its address, that passes through the model: a batch of one sentence,
    of which the batch axis is left out.

    `decoder.2.cross_attn.q|k|v|z|weights|out` (heads first; q, k and v as the core gets them: turned by rotary positions,
    and keys and values once for each query head), `decoder.2.resid_pre|resid_mid|resid_cross|resid_post`,
    `decoder.2.ffn.pre|post` (what goes into the activation, and what goes into the last matrix),
    `src_embed.tokens|position|sum` (tokens times the scale), `memory`, `hidden`.
    """
    seen: dict[str, Tensor] = {}
    handles: list[Any] = []

    def keep(name: str, x: Any) -> None:
        seen[name] = x.detach()[0].float().cpu().clone()

    def entering(module: nn.Module, name: str) -> None:
        handles.append(module.register_forward_pre_hook(lambda _, given: keep(name, given[0])))

    def leaving(module: nn.Module, name: str) -> None:
        handles.append(module.register_forward_hook(lambda _, __, out: keep(name, out)))

    def attention(module: Any, at: str) -> None:
        def core(core: Any, given: tuple[Tensor, Tensor, Tensor, Mask]) -> None:
            q, k, v, mask = given
            for name, x in (("q", q), ("k", k), ("v", v), ("weights", core.weights(q, k, mask))):
                keep(f"{at}.{name}", x)

        handles.append(module.core.register_forward_pre_hook(core))
        leaving(module.core, f"{at}.z")
        leaving(module, f"{at}.out")

    for part, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, block in enumerate(stack):
            at = f"{part}.{i}"
            entering(block, f"{at}.resid_pre")
            leaving(block, f"{at}.resid_post")
            attention(block.self_attn, f"{at}.self_attn")
            norms: list[tuple[nn.Module, str]] = [(block.self_norm, "resid_mid")]
            if block.cross_attn is not None and block.cross_norm is not None:
                attention(block.cross_attn, f"{at}.cross_attn")
                norms.append((block.cross_norm, "resid_cross"))
            if block.norm_at == "post":  # a norm ends what it stands after; else the next one begins with it
                for norm, name in norms:
                    leaving(norm, f"{at}.{name}")
            else:
                for norm, (_, name) in zip([*(n for n, _ in norms[1:]), block.ffn_norm], norms, strict=True):
                    entering(norm, f"{at}.{name}")
            inner = cast(Any, block.ffn)
            leaving(inner.gate_proj if hasattr(inner, "gate_proj") else inner.up_proj, f"{at}.ffn.pre")
            entering(inner.down_proj, f"{at}.ffn.post")
    for name, embed in (("src_embed", model.src_embed), ("tgt_embed", model.tgt_embed)):
        entering(embed.position, f"{name}.tokens")
        leaving(embed, f"{name}.sum")
    leaving(model.encoder, "memory")
    leaving(model.decoder, "hidden")
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Passed:
    """The pass over a source and its translation."""

    tensors: dict[str, Tensor]
    logits: Float[Tensor, "m vocab"]


@torch.no_grad()
def watched_pass(model: EncoderDecoder, src: Int[Tensor, "1 n"], tgt: Int[Tensor, "1 m"]) -> Passed:
    """All that passes through the model when it reads a source and, after the begin, a translation."""
    with watching(model) as seen:
        logits = model(src, tgt)[0].float().cpu()
    for name, embed, ids in (("src_embed", model.src_embed, src), ("tgt_embed", model.tgt_embed, tgt)):
        nothing = torch.zeros(1, ids.shape[1], embed.tokens.embedding_dim, device=src.device)
        seen[f"{name}.position"] = embed.position(nothing)[0].float().cpu().clone()
    return Passed(seen, logits)


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
    checks = _checks(model, tensors, stacks(model)) | {
        "incremental_err": _incremental(model, src, tgt, log_probs, go_on)
    }
    if full:
        tensors["logits"] = passed.logits
        tensors |= {name: weight.float().cpu().clone() for name, weight in named_weights(model).items()}
    sides = _sides(tokenizer, bundle, request, src_ids, inputs, labels)
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


def _checks(model: EncoderDecoder, tensors: dict[str, Tensor], kinds: Sequence[StackInfo]) -> dict[str, float]:
    """The largest deviations, over all attentions: of the sum of a row of weights from one; of what the model's own kernel gave
    from the weights by definition times the values; of the sum over heads of z W_O, and the bias, from the output.
    """
    rows = again = joined = 0.0
    for kind in kinds:
        part, _, which = kind.name.partition(".")
        for i in range(kind.layers):
            at = f"{part}.{i}.{which}"
            weights, v, z, out = (tensors[f"{at}.{name}"] for name in ("weights", "v", "z", "out"))
            rows = max(rows, _largest(weights.sum(dim=2) - 1.0))
            again = max(again, _largest(weights @ v - z))
            projection = cast(nn.Linear, model.get_submodule(f"{at}.o_proj"))
            by_head = projection.weight.detach().cpu().float().unflatten(1, (z.shape[0], -1))  # [m, h, d]
            total = torch.einsum("hqd,mhd->hqm", z, by_head).sum(dim=0)
            if cast(Any, projection.bias) is not None:
                total = total + projection.bias.detach().cpu().float()
            joined = max(joined, _largest(total - out))
    return {"row_sum_err": rows, "recompute_err": again, "wo_sum_err": joined}


def _largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


@torch.inference_mode()
def _incremental(
    model: EncoderDecoder, src: Tensor, tgt: Tensor, log_probs: Float[Tensor, "m vocab"], go_on: Callable[[], None]
) -> float:
    """How far, in probability, what the model says step by step is from what it says to the whole translation at once."""
    state, largest = model.start(src), 0.0
    for t in range(tgt.shape[1]):
        go_on()
        step = torch.softmax(model.step(tgt[:, t], state)[0].float().cpu(), dim=-1)
        largest = max(largest, _largest(step - log_probs[t].exp()))
    return largest


def _heads(
    tensors: dict[str, Tensor], kinds: Sequence[StackInfo], sides: tuple[Side, Side, list[Token]]
) -> Iterator[HeadStat]:
    tokens = {"src": sides[0].tokens, "tgt": sides[1].tokens}
    for kind in kinds:
        part, _, which = kind.name.partition(".")
        for i in range(kind.layers):
            yield from head_stats(tensors[f"{part}.{i}.{which}.weights"], kind, i, tokens[kind.q], tokens[kind.k])


def tensor_info(name: str, tensor: Tensor) -> TensorInfo:
    """What a tensor of a capture is; a weight's axes are its rows and columns."""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8", torch.int32: "I32"}
    return TensorInfo(kinds[tensor.dtype], list(tensor.shape), _axes(name, tensor.ndim))


def _axes(name: str, ndim: int) -> list[str]:
    last = name.rpartition(".")[2]
    if last not in PASSING:
        return ["row", "column"][:ndim] if ndim <= 2 else [f"axis {i}" for i in range(ndim)]
    if "_attn." in name and last != "out":
        columns = "key" if last == "weights" else "d_head"
        return ["head", "key" if last in ("k", "v") else "query", columns]
    if name.startswith("logits"):
        return ["step", "vocab" if name == "logits" else "rank"]
    return ["token", "d_ff" if ".ffn." in name else "d_model"]


def _sides(
    tokenizer: Tokenizer,
    bundle: Bundle,
    request: Request,
    src_ids: list[int],
    inputs: list[int],
    labels: list[int],
) -> tuple[Side, Side, list[Token]]:
    tagged = bool(request.to)
    text, spans = tokenizer.spans_src(request.src)
    framed: list[Span | None] = [*([None] if tagged else []), *spans, None]
    special = {tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    special |= {tokenizer.tag_id(tag) for tag in tokenizer.tags}
    names = tokenizer.names_src(), tokenizer.names_tgt()
    src = _side(text, _source_language(bundle, request), src_ids, framed, names[0], special)
    written = [token for token in labels if token != tokenizer.eos_id]
    tgt_text, tgt_spans = tokenizer.spans_tgt(written)
    both = [None, *tgt_spans, *([None] if len(written) < len(labels) else [])]  # begin, y1 ... ym, end
    whole = _side(tgt_text, request.to or bundle.config.tgt_lang, [inputs[0], *labels], both, names[1], special)
    tgt = Side(whole.text, whole.lang, whole.tokens[:-1], whole.words)
    return src, tgt, whole.tokens[1:]


def _source_language(bundle: Bundle, request: Request) -> str:
    """The configured one; of a model with tags, one that the text can be in: "" if that is not known."""
    config, tags = bundle.config, bundle.tokenizer.tags
    if not tags:
        return config.src_lang
    if "zh" in tags and HAN.search(request.src):
        return "zh"
    return config.src_lang if config.src_lang != request.to else ""


def _side(
    text: str, lang: str, ids: list[int], spans: Sequence[Span | None], names: list[str], special: set[int]
) -> Side:
    tokens: list[Token] = []
    words: list[Span] = []
    blanks: list[int] = []
    open_word, before = False, ""
    for i, (token, span) in enumerate(zip(ids, spans, strict=True)):
        piece = names[token]
        if token in special or span is None:
            tokens.append(Token(token, piece, "", True, -1, span))
            open_word = open_word and span is None
            continue
        start, end = span
        shown = text[start:end]
        partial = piece.startswith("<0x") and len(shown.encode("utf-8", "replace")) > 1
        if not shown.strip():  # a blank by itself: of the word after it or, at the end, before it
            tokens.append(Token(token, piece, " ", False, len(words), span))
            blanks.append(i)
            open_word = False
            continue
        same_sign = partial and i > 0 and spans[i - 1] == span
        if not same_sign and (not open_word or piece.startswith(BLANK) or _cut_between(before, shown)):
            words.append((start, end))
        else:
            words[-1] = (words[-1][0], max(end, words[-1][1]))
        open_word, before = not shown.isspace(), shown
        tokens.append(Token(token, piece, shown, False, len(words) - 1, span, partial))
    for i in blanks:
        tokens[i] = replace(tokens[i], word=min(tokens[i].word, len(words) - 1))
    return Side(text, lang, tokens, [text[start:end].strip() for start, end in words])


def _cut_between(before: str, after: str) -> bool:
    """Whether two pieces without a blank between are two words: punctuation, and what is written without blanks."""
    if starts_unspaced(before) or starts_unspaced(after):
        return True
    return not _has_letter(before) or not _has_letter(after)


def _has_letter(text: str) -> bool:
    return any(sign.isalnum() for sign in text)
