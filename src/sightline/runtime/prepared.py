# pyright: reportPrivateImportUsage=false
"""A trained model made ready to translate on this machine: its own modules, with weights laid out for the processor, and caches
that are written in place and never copied for a beam.
"""

import copy
import math
import time
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.bundle.weights import PRECISIONS
from sightline.errors import ConfigError
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.cache import BlockCache, KeyValues, memory_attention, watch_memory
from sightline.nn.embed import TokenEmbedding
from sightline.nn.heads import VocabularyHead
from sightline.nn.mask import Mask

Precision = Literal["fp32", "bf16"]
FULL = 0.7
"""Sentences that are done stay in the caches until the others are at most this share."""


class Layout:
    """Where the hypotheses of a batch stand in caches that all of them share.

    A cache holds for each sentence a row of columns; at each step every hypothesis of the sentence writes one. A hypothesis looks
    at the columns of its own history, so a beam that is reordered changes what is looked at, and nothing is moved.
    """

    def __init__(self, sentences: int, device: torch.device) -> None:
        self.slots, self.width = sentences, 1
        """Sentences in the caches, and hypotheses of each; some of either may be done with."""
        self.place: Int[Tensor, " n"] = torch.arange(sentences, device=device)
        """Of each row of the search, where it is among all slots * width."""
        self.history: Int[Tensor, "k r t"] = self.place.new_empty(sentences, 1, 0)
        """The columns that each hypothesis has written, or its ancestors have."""
        self.columns = 0

    def write(self) -> Mask:
        """Give each hypothesis its next column. Returns who may look where."""
        new = torch.arange(self.columns, self.columns + self.width, device=self.place.device)
        self.history = torch.cat((self.history, new.expand(self.slots, -1)[:, :, None]), dim=2)
        self.columns += self.width
        if self.columns == self.history.shape[2]:  # there never was more than one hypothesis
            return Mask()
        seen = torch.zeros(self.slots, self.width, self.columns, dtype=torch.bool, device=self.place.device)
        return Mask(pairs=seen.scatter_(2, self.history, True)[:, None])

    def reorder(self, index: Int[Tensor, " n"]) -> Int[Tensor, " k"] | None:
        """Keep some rows of the search. Returns the slots that caches are to keep, if others are to go."""
        old = self.place[index]
        slot, parent = old // self.width, old % self.width
        counts = torch.bincount(slot, minlength=self.slots)
        self.width = int(counts.max())
        order = slot.argsort(stable=True)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[slot[order]]
        parents = slot.new_zeros(self.slots, self.width)
        parents[slot, rank] = parent
        self.history = self.history.gather(1, parents[:, :, None].expand(-1, -1, self.history.shape[2]))
        kept = None
        alive = counts > 0
        if int(alive.sum()) <= FULL * self.slots:
            kept = alive.nonzero()[:, 0]
            slot = (alive.cumsum(0) - 1)[slot]
            self.history, self.slots = self.history[kept], len(kept)
        self.place = slot * self.width + rank
        return kept


class SharedCache:
    """Keys and values [k, h, columns, d] of all hypotheses of a sentence, written in place; a `nn.cache.Cache`."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.layout, self.capacity, self.steps = layout, capacity, 0
        self.k = self.v = torch.empty(0)

    @property
    def at(self) -> Tensor:
        """All hypotheses stand at the same position: how many steps it holds."""
        return torch.full((1, self.layout.width), self.steps, device=self.layout.place.device)

    def extend(self, new: KeyValues) -> KeyValues:
        """Write a step's columns, and return all of them."""
        end, count = self.layout.columns, new.k.shape[2]
        if self.k.ndim == 1 or end > self.k.shape[2]:
            self._grow(new, max(end, 2 * (end - count), self.capacity))
        self.k[:, :, end - count : end], self.v[:, :, end - count : end] = new.k, new.v
        self.steps += 1
        return KeyValues(self.k[:, :, :end], self.v[:, :, :end])

    def _grow(self, like: KeyValues, columns: int) -> None:
        earlier = self.k, self.v
        b, h, _, d = like.k.shape
        self.k, self.v = (like.k.new_empty(b, h, columns, d) for _ in range(2))
        if earlier[0].ndim > 1:
            for larger, smaller in zip((self.k, self.v), earlier, strict=True):
                larger[:, :, : smaller.shape[2]] = smaller

    def keep(self, slots: Int[Tensor, " k"]) -> None:
        """Drop all sentences but these."""
        self.k, self.v = self.k[slots], self.v[slots]

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Nothing: see `Layout`."""


class PreparedState:
    """What a prepared decoder remembers between steps. Rows are hypotheses."""

    def __init__(
        self, memory: Float[Tensor, "k s m"], exists: Bool[Tensor, "k s"], n_layers: int, capacity: int
    ) -> None:
        self.layout = Layout(len(memory), memory.device)
        self.memory, self.exists, self.memory_mask = memory, exists, Mask(keys=exists)
        self.caches = [BlockCache(SharedCache(self.layout, capacity)) for _ in range(n_layers)]
        self.length = 0

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order; a row may be named several times or not at all."""
        kept = self.layout.reorder(index)
        if kept is not None:
            self.memory, self.exists = self.memory[kept], self.exists[kept]
            self.memory_mask = Mask(keys=self.exists)
            for cache in self.caches:
                cast(SharedCache, cache.self_attn).keep(kept)
                cache.cross_attn.reorder(kept)

    def watch(self) -> None:
        """Have `attention` from the next step on."""
        watch_memory(self.caches)

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step of each row looked at the source: the mean of all layers and heads."""
        return memory_attention(self.caches).flatten(0, 1)[self.layout.place]


class Prepared:
    """A `Decodable` that gives the logits of a trained model, up to rounding, as fast as this machine allows.

    The hypotheses of a sentence go through the decoder side by side, as the positions of a sequence would: they share the
    memory's keys and values, and a cache.
    """

    def __init__(self, model: EncoderDecoder, precision: str) -> None:
        self.model = prepare_modules(model, precision)
        self.pad_id, self.bos_id, self.eos_id = model.pad_id, model.bos_id, model.eos_id

    @property
    def max_len(self) -> int:
        """The most tokens of a translation."""
        return self.model.max_len

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.src_embed.tokens.weight.device

    def start(self, src: Int[Tensor, "b s"]) -> PreparedState:
        """Encode the sources; the state has one row per source."""
        capacity = 2 * src.shape[1] + 20
        return PreparedState(self.model.encode(src), src != self.pad_id, len(self.model.decoder), capacity)

    def step(self, tokens: Int[Tensor, " n"], state: PreparedState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        layout, model = state.layout, self.model
        everywhere = len(tokens) == layout.slots * layout.width
        ids = tokens
        if not everywhere:
            ids = tokens.new_full((layout.slots * layout.width,), self.eos_id)
            ids[layout.place] = tokens
        at = torch.full((layout.slots, layout.width), state.length, device=tokens.device)
        x = model.tgt_embed(ids.view(layout.slots, layout.width), at)
        mask, memory_mask = layout.write().standing(at), state.memory_mask.standing(at)
        x = model.decoder(x, mask, state.memory, memory_mask, state.caches).flatten(0, 1)
        state.length += 1
        return model.head(x if everywhere else x[layout.place])


def prepare(model: AnyModel, precision: str) -> "Prepared | AnyModel":
    """A model made ready to translate in a number format: a Transformer as `Prepared`, any other as it is.

    Raises ConfigError for a format that it cannot be had in.
    """
    if isinstance(model, EncoderDecoder):
        return Prepared(model, precision)
    if precision != "fp32":
        raise ConfigError(f"precision = {precision} is for Transformers, and this model is none: give fp32, or auto.")
    return model


def fastest_precision(model: AnyModel, tries: int = 20) -> Precision:
    """The number format in which this machine multiplies a few vectors by a matrix of the model's size the fastest; bf16 must win
    by a fifth, for float32 loses no digits. The fastest of some tries counts, in turns, which takes a few milliseconds. Of models
    that are not Transformers float32 is the only one.
    """
    if not isinstance(model, EncoderDecoder):
        return "fp32"
    size = model.tgt_embed.position.d_model
    layers = {name: PackedLinear(torch.ones(4 * size, size, dtype=PRECISIONS[name]), None) for name in ("fp32", "bf16")}
    fastest = dict.fromkeys(layers, math.inf)
    for _ in range(tries):
        for name, layer in layers.items():
            x = torch.ones(16, size, dtype=PRECISIONS[name])
            began = time.perf_counter()
            layer(x)
            fastest[name] = min(fastest[name], time.perf_counter() - began)
    return "bf16" if 1.2 * fastest["bf16"] < fastest["fp32"] else "fp32"


def prepare_modules(model: EncoderDecoder, precision: str) -> EncoderDecoder:
    """A copy of a model, in evaluation mode, whose weights are in a number format and laid out for this processor."""
    kind = PRECISIONS[precision]
    model = copy.deepcopy(model).eval().requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, TokenEmbedding):
            module.register_forward_hook(lambda _module, _args, output: output.to(kind))
        elif isinstance(module, nn.Linear | VocabularyHead):
            bias = None if module.bias is None else module.bias.to(kind)
            _replace(model, name, PackedLinear(module.weight.to(kind), bias))
        elif not list(module.children()):
            module.to(kind)
    return model


def _replace(model: nn.Module, name: str, new: nn.Module) -> None:
    above, _, own = name.rpartition(".")
    setattr(model.get_submodule(above), own, new)


class PackedLinear(nn.Module):
    """A linear layer whose bf16 weights lie in memory as oneDNN's products want them, on processors with AVX-512: 1.7 times as
    fast for a few rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.bias = bias
        in_bf16 = weight.dtype is torch.bfloat16 and weight.device.type == "cpu"
        self.packed = in_bf16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, 4) if self.packed else weight

    def forward(self, x: Float[Tensor, "*b m"]) -> Float[Tensor, "*b f"]:
        """As a linear layer."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return nn.functional.linear(x, self.weight, self.bias)
