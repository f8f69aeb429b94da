"""A trained model in the library of the extra `native`: the same model and the same beam search in C++ (decision 0018).

Products of small whole numbers (precision "int8"), no operation of torch between one token and the next, caches that are indexed,
and waiting sentences that take the places of those that are done.
"""

import ctypes
import importlib
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.decoding.protocol import DecodingSettings, Hypothesis, hypothesis, step_limit
from sightline.decoding.shortlist import Shortlist
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.block import Block
from sightline.nn.cores import Cosine, ScaledDotProduct
from sightline.nn.feedforward import FeedForward, Gated
from sightline.nn.position import Learned, Position, Rotary, Sinusoidal
from sightline.runtime.prepared import Prepared, PreparedState

NORMS = ("none", "average", "wu")
ROWS = 96
"""Hypotheses that are computed together: enough for the products, and their activations stay in the cache."""
NATIVE_PRECISIONS = ("fp32", "int8")
LOOK_UP = 0.1
"""Seconds after which a long search is asked whether it has been interrupted."""


class _Shape(ctypes.Structure):
    """`Shape` of native/src/model.h."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            *("d_model", "n_heads", "n_kv_heads", "d_ff", "encoder_layers", "decoder_layers"),
            *("src_vocab", "tgt_vocab", "max_len", "norm_first", "rms", "activation", "core", "rotary", "int8"),
            *("pad_id", "bos_id", "eos_id", "shortlists"),
        )
    ]


class _Settings(ctypes.Structure):
    """`Settings` of native/src/search.h."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("beam", "n_best", "min_len", "stop_at_first", "norm", "rows")),
        ("penalty", ctypes.c_double),
    ]


@cache
def native_library() -> ctypes.CDLL | None:
    """The library for this processor; None where the extra is not installed, or the processor is none that it knows."""
    try:
        path = importlib.import_module("sightline_native").library()
    except ImportError:
        return None
    if path is None:
        return None
    found = ctypes.CDLL(str(path))
    found.sightline_error.restype = ctypes.c_char_p
    found.sightline_model.restype = found.sightline_search.restype = ctypes.c_void_p
    return found


def why_not_native(model: EncoderDecoder) -> str:
    """Why a model is not for the library, as half a sentence; empty if it is."""
    if native_library() is None:
        return "the extra `native` is not installed, or does not know this processor (`make native` builds and installs it)"
    if model.src_embed.tokens.weight.device.type != "cpu":
        return "the model is on a GPU"
    ffns = {_activation(block.ffn) for block in (*model.encoder, *model.decoder)}
    cores = {type(each.core) for each in model.modules() if isinstance(each, SelfAttention | CrossAttention)}
    positions = {type(each.position) for each in (model.src_embed, model.tgt_embed)}
    others = cores - {ScaledDotProduct, Cosine} | positions - {Position, Sinusoidal, Learned, Rotary}
    unknown = [*(each.__name__ for each in others), *(["such a feed-forward network"] if None in ffns else [])]
    if unknown or max(map(len, (ffns, cores, positions))) > 1:
        return f"its library does not know {', '.join(unknown) or 'layers of different kinds in one model'}"
    return ""


class Native:
    """A `Searcher`, and like any prepared model a `Decodable` for the searches that the library does not know.

    `precision` "int8" has weights of 8 bits with a scale for each output, and activations of 14 bits (8, where the processor has
    AVX-512) with a scale for each row.

    Raises ValueError, with `why_not_native`, if it cannot be.
    """

    def __init__(self, model: EncoderDecoder, precision: str, shortlist: Shortlist | None = None) -> None:
        library, why_not = native_library(), why_not_native(model)
        if library is None or why_not:
            raise ValueError(why_not)
        self.library, self.model, self.shortlist = library, model, shortlist
        self.pad_id, self.bos_id, self.eos_id, self.max_len = model.pad_id, model.bos_id, model.eos_id, model.max_len
        shape = _shape(model, precision, shortlist is not None)
        self.src_vocab: int = shape.src_vocab
        tensors = [None if each is None else each.detach().float().contiguous() for each in _tensors(model)]
        pointers = (ctypes.c_void_p * len(tensors))(*(None if each is None else each.data_ptr() for each in tensors))
        self.handle = ctypes.c_void_p(
            library.sightline_model(ctypes.byref(shape), pointers, len(tensors)) or self._fail()
        )
        weakref.finalize(self, library.sightline_free_model, self.handle)

    @cached_property
    def prepared(self) -> Prepared:
        """For what the library does not search for."""
        return Prepared(self.model, "fp32")

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu")

    def start(self, src: Int[Tensor, "b s"]) -> PreparedState:
        """As `Prepared.start`."""
        return self.prepared.start(src)

    def step(self, tokens: Int[Tensor, " n"], state: PreparedState) -> Float[Tensor, "n vocab"]:
        """As `Prepared.step`."""
        return self.prepared.step(tokens, state)

    def searches(self, settings: DecodingSettings) -> bool:
        """Beam and greedy searches, but for repeats, coverage and groups."""
        s = settings
        return not (s.sample or s.mbr or s.no_repeat_ngram or s.coverage_penalty or s.beam_groups > 1)

    def search(
        self, sources: Sequence[Sequence[int]], settings: DecodingSettings, threads: int
    ) -> list[list[Hypothesis]]:
        """As `beam_search`, with a beam of 1 `greedy`, for sources of any lengths; the longest should come first. Ctrl-C ends it.

        With a shortlist only its tokens have logits at all: the probabilities of these add up to 1.

        Raises ValueError if a source is empty, has more tokens than the model reads, or one that it does not know.
        """
        lengths = [len(source) for source in sources]
        if sources and not 0 < min(lengths) <= max(lengths) <= self.max_len:
            raise ValueError(f"sources must have 1 to {self.max_len} tokens, not {min(lengths)} to {max(lengths)}")
        limits = [step_limit(self, source, settings) for source in sources]
        given = _Settings(
            settings.beam,
            settings.n_best,
            settings.min_len,
            settings.stop == "first",
            NORMS.index(settings.length_norm),
            max(ROWS, settings.beam),
            settings.length_penalty,
        )
        tokens = np.fromiter((token for source in sources for token in source), np.int32)
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.src_vocab:
            raise ValueError(
                f"sources hold tokens {tokens.min()} to {tokens.max()}, and the model knows {self.src_vocab}"
            )
        arrays: list[np.ndarray | None] = [tokens, np.array(lengths, np.int32), np.array(limits, np.int32)]
        arrays += self._allowed(sources)
        stop = ctypes.c_int32(0)

        def work() -> list[list[Hypothesis]]:
            search, own = self.library.sightline_search, (self.handle, ctypes.byref(given), *map(_address, arrays))
            done = ctypes.c_void_p(search(*own, len(sources), threads, ctypes.byref(stop)) or self._fail())
            try:
                return list(self._results(done, len(sources), settings))
            finally:
                self.library.sightline_free_work(done)

        if len(sources) <= ROWS:
            return work()
        with ThreadPoolExecutor(1, "translate") as pool:  # this thread stays here and sees Ctrl-C
            try:
                found = pool.submit(work)
                while not wait([found], timeout=LOOK_UP).done:  # a signal just before an endless wait would not end it
                    pass
                return found.result()
            finally:
                stop.value = 1

    def _allowed(self, sources: Sequence[Sequence[int]]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The shortlists of sources one after another, and how long each is; neither if all tokens are allowed."""
        if self.shortlist is None or not sources:
            return None, None
        lists = [self.shortlist.of(source) for source in sources]
        return np.concatenate(lists), np.array([len(each) for each in lists], np.int32)

    def _results(self, work: ctypes.c_void_p, count: int, settings: DecodingSettings) -> Iterator[list[Hypothesis]]:
        n_found, n_steps = ctypes.c_int64(), ctypes.c_int64()
        self.library.sightline_sizes(work, ctypes.byref(n_found), ctypes.byref(n_steps))
        counts, lengths, finished, tokens = (
            np.empty(n, np.int32) for n in (count, n_found.value, n_found.value, n_steps.value)
        )
        log_probs = np.empty(n_steps.value, np.float32)
        self.library.sightline_results(work, *map(_address, (counts, lengths, finished, tokens, log_probs)))
        each = zip(lengths.tolist(), finished.tolist(), strict=True)
        ids, parts, at = tokens.tolist(), log_probs.tolist(), 0
        for n in counts.tolist():
            found = []
            for _ in range(n):
                length, ended = next(each)
                end = at + length
                found.append(hypothesis(ids[at : end - ended], parts[at:end], bool(ended), settings))
                at = end
            yield found

    def _fail(self) -> Any:
        raise RuntimeError(self.library.sightline_error().decode())


def _address(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)


def _activation(ffn: nn.Module) -> int | None:
    """The number of `Activation` in native/src/model.h."""
    if type(ffn) is Gated:
        return 3 if ffn.activation is nn.functional.silu else None
    if type(ffn) is FeedForward:
        known = [torch.relu, nn.functional.gelu, nn.functional.silu]
        return known.index(ffn.activation) if ffn.activation in known else None
    return None


def _shape(model: EncoderDecoder, precision: str, shortlists: bool) -> _Shape:
    block = next(iter(model.decoder))
    attention = block.self_attn
    return _Shape(
        attention.n_heads * attention.d_head,
        attention.n_heads,
        attention.n_kv_heads,
        block.ffn.up_proj.out_features,  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        len(model.encoder),
        len(model.decoder),
        len(model.src_embed.tokens.weight),
        len(model.head.weight),
        model.max_len,
        block.norm_at == "pre",
        isinstance(block.self_norm, nn.RMSNorm),
        _activation(block.ffn),
        isinstance(attention.core, Cosine),
        isinstance(model.tgt_embed.position, Rotary),
        precision == "int8",
        model.pad_id,
        model.bos_id,
        model.eos_id,
        shortlists,
    )


def _tensors(model: EncoderDecoder) -> Iterator[Tensor | None]:
    """All there are, in the order in which native/src/model.h takes them."""
    yield from (model.src_embed.tokens.weight, model.tgt_embed.tokens.weight, model.head.weight, model.head.bias)
    yield _added(model.src_embed.position)
    yield _added(model.tgt_embed.position)
    position = model.tgt_embed.position
    yield position.angles[: model.max_len] if isinstance(position, Rotary) else None
    for block in model.encoder:
        yield from _of_block(block)
    for block in model.decoder:
        yield from _of_block(block)
    for norm in (model.encoder.norm, model.decoder.norm):
        if norm is not None:
            yield from _of_norm(norm)


def _added(position: Position) -> Tensor | None:
    if isinstance(position, Sinusoidal):
        return position.table[: position.max_len]
    return position.weight if isinstance(position, Learned) else None


def _of_block(block: Block) -> Iterator[Tensor | None]:
    yield from _of_norm(block.self_norm)
    yield from _of_attention(block.self_attn)
    if block.cross_attn is not None and block.cross_norm is not None:
        yield from _of_norm(block.cross_norm)
        yield from _of_attention(block.cross_attn)
    yield from _of_norm(block.ffn_norm)
    for name in ("up_proj", "gate_proj", "down_proj"):
        layer = getattr(block.ffn, name, None)
        yield from (None, None) if layer is None else (layer.weight, layer.bias)


def _of_norm(norm: nn.Module) -> Iterator[Tensor | None]:
    yield from (norm.weight, getattr(norm, "bias", None))  # pyright: ignore[reportReturnType]


def _of_attention(attention: SelfAttention | CrossAttention) -> Iterator[Tensor | None]:
    for layer in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
        yield from (layer.weight, layer.bias)
    yield attention.core.log_sharpness.exp() if isinstance(attention.core, Cosine) else None
