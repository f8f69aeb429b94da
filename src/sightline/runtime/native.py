"""A trained model in the library of the extra `native`: the same model and the same beam search in C++ (decision 0018).

Products of small whole numbers (precision "int8"), no operation of torch between one token and the next, caches that are indexed,
and waiting sentences that take the places of those that are done.
"""

import ctypes
import importlib
import math
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.bundle import Bundle
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.hypothesis import Hypothesis, hypothesis
from sightline.decoding.searcher import step_limit
from sightline.decoding.settings import DecodingSettings
from sightline.models.config import TransformerConfig
from sightline.models.layout import Shape, core_name, first_address

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from sightline.decoding.shortlist import Shortlist
    from sightline.models.sequence_to_sequence import AnyModel
    from sightline.runtime.prepared import Prepared, PreparedState

KNOWN = {
    "attention": ("dot", "cosine"),
    "feedforward": ("relu", "gelu", "silu", "swiglu"),
    "position": ("none", "sinusoidal", "learned", "rotary"),
    "norm": ("layer", "rms"),
}
"""What a config may say, in the order of `Core` and `Activation` in native/src/model.h."""
LENGTH_NORMS = ("none", "average", "wu")
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


class NotNative(ValueError):
    """Why a model is not for the library, as half a sentence."""


@dataclass(frozen=True)
class Parts:
    """A model as the library takes it. Raises NotNative if it does not know such models, or is not there."""

    config: TransformerConfig
    shapes: Mapping[str, Shape]
    """Of each trained tensor, by its address."""
    read: Callable[[str], np.ndarray]
    """From an address to the tensor, in float32."""
    modules: "Callable[[], AnyModel]"
    """The same model in torch, for whatever else is asked of it."""
    ids: tuple[int, int, int] = (Tokenizer.pad_id, Tokenizer.bos_id, Tokenizer.eos_id)
    """Those of padding, begin and end."""

    def __post_init__(self) -> None:
        if native_library() is None:
            raise NotNative(
                "the extra `native` is not installed, or does not know this processor (`make native` builds and installs it)"
            )
        said = {**self.config.model_dump(include=set(KNOWN)), "attention": core_name(self.config)}
        if unknown := [str(name) for key, name in said.items() if name not in KNOWN[key]]:
            raise NotNative(f"its library does not know {', '.join(unknown)}")

    @property
    def src_vocab(self) -> int:
        """Tokens of a source."""
        return self.shapes["src_embed.tokens.weight"][0]

    @property
    def tgt_vocab(self) -> int:
        """Tokens of a translation."""
        return self.shapes[first_address(self.config, "tgt_embed.tokens.weight")][0]


def parts_of(bundle: Bundle) -> Parts:
    """The model of a bundle: what its settings say, if nobody has had its modules, which might have been changed, else what they
    are. Raises NotNative.
    """
    config = bundle.config.model
    if bundle.stored is not None and isinstance(config, TransformerConfig):
        return Parts(config, bundle.stored.shapes, bundle.stored.read, lambda: bundle.model)
    from sightline.runtime.modules import parts_of_modules

    return parts_of_modules(bundle.model)


class Native:
    """A `Searcher`, and like any prepared model a `Decodable` for the searches that the library does not know.

    `precision` "int8" has weights of 8 bits with a scale for each output, and activations of 14 bits (8, where the processor has
    AVX-512) with a scale for each row.
    """

    def __init__(self, parts: Parts, precision: str, shortlist: "Shortlist | None" = None) -> None:
        library = native_library()
        assert library is not None  # there are no parts without it
        self.library, self.parts, self.shortlist = library, parts, shortlist
        self.pad_id, self.bos_id, self.eos_id = parts.ids
        self.max_len = parts.config.max_len
        self.src_vocab = parts.src_vocab
        shape, tensors = _shape(parts, precision, shortlist is not None), list(_tensors(parts))
        pointers = (ctypes.c_void_p * len(tensors))(*map(_address, tensors))
        self.handle = ctypes.c_void_p(
            library.sightline_model(ctypes.byref(shape), pointers, len(tensors)) or self._fail()
        )
        weakref.finalize(self, library.sightline_free_model, self.handle)

    @cached_property
    def prepared(self) -> "Prepared":
        """For what the library does not search for."""
        from sightline.runtime.prepared import Prepared

        model: Any = self.parts.modules()  # a Transformer, as the library knows no others
        return Prepared(model, "fp32")

    @property
    def device(self) -> "torch.device":
        """Where it computes."""
        return self.prepared.device

    def start(self, src: "Tensor") -> "PreparedState":
        """As `Prepared.start`."""
        return self.prepared.start(src)

    def step(self, tokens: "Tensor", state: "PreparedState") -> "Tensor":
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
            LENGTH_NORMS.index(settings.length_norm),
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


def _shape(parts: Parts, precision: str, shortlists: bool) -> _Shape:
    config = parts.config
    return _Shape(
        config.d_model,
        config.n_heads,
        config.n_kv_heads or config.n_heads,
        config.d_ff,
        config.n_encoder_layers,
        config.n_decoder_layers,
        parts.src_vocab,
        parts.tgt_vocab,
        config.max_len,
        config.norm_at == "pre",
        config.norm == "rms",
        KNOWN["feedforward"].index(config.feedforward),
        KNOWN["attention"].index(core_name(config) or ""),
        config.position == "rotary",
        precision == "int8",
        *parts.ids,
        shortlists,
    )


def _tensors(parts: Parts) -> Iterator[np.ndarray | None]:
    """All there are, in the order in which native/src/model.h takes them."""
    config, read = parts.config, cache(parts.read)

    def named(*names: str) -> Iterator[np.ndarray | None]:
        for name in (first_address(config, each) for each in names):
            yield read(name) if name in parts.shapes else None

    def attention(at: str) -> Iterator[np.ndarray | None]:
        yield from named(*(f"{at}.{layer}_proj.{part}" for layer in "qkvo" for part in ("weight", "bias")))
        for sharpness in named(f"{at}.core.log_sharpness"):
            yield None if sharpness is None else np.exp(sharpness)

    def block(at: str, cross: bool) -> Iterator[np.ndarray | None]:
        for kind in ("self", "cross") if cross else ("self",):
            yield from named(f"{at}.{kind}_norm.weight", f"{at}.{kind}_norm.bias")
            yield from attention(f"{at}.{kind}_attn")
        yield from named(f"{at}.ffn_norm.weight", f"{at}.ffn_norm.bias")
        layers = ("up", "gate", "down")
        yield from named(*(f"{at}.ffn.{layer}_proj.{part}" for layer in layers for part in ("weight", "bias")))

    yield from named("src_embed.tokens.weight", "tgt_embed.tokens.weight", "head.weight", "head.bias")
    table = sinusoids(config.max_len, config.d_model) if config.position == "sinusoidal" else None
    for side in ("src_embed", "tgt_embed"):
        yield from named(f"{side}.position.weight") if table is None else (table,)
    yield rotations(config.max_len, config.d_model // config.n_heads) if config.position == "rotary" else None
    for i in range(config.n_encoder_layers):
        yield from block(f"encoder.{i}", cross=False)
    for i in range(config.n_decoder_layers):
        yield from block(f"decoder.{i}", cross=True)
    if config.norm_at == "pre":
        for stack in ("encoder", "decoder"):
            yield from named(f"{stack}.norm.weight", f"{stack}.norm.bias")


def sinusoids(length: int, size: int) -> np.ndarray:
    """The table of `nn.position.Sinusoidal` [t, m]."""
    rate = np.exp(np.arange(0, size, 2) * (-math.log(10000.0) / size))
    angle = np.arange(length)[:, None] * rate
    table = np.stack((np.sin(angle), np.cos(angle)), axis=-1).reshape(length, -1)
    return np.ascontiguousarray(table[:, :size], np.float32)


def rotations(length: int, size: int) -> np.ndarray:
    """The table of `nn.position.Rotary` [t, half, 2]: of each angle the cosine, then the sine."""
    return np.ascontiguousarray(sinusoids(length, size).reshape(length, -1, 2)[..., ::-1])
