"""Convolutional sequence to sequence learning (Gehring et al. 2017), the state of the art when the Transformer came. In training
no position waits for another, and attention is in every layer of the decoder.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.models.sequence_to_sequence import Packing, SequenceToSequence
from sightline.nn.attention import CrossAttention
from sightline.nn.block import Layers
from sightline.nn.cache import MemoryCache
from sightline.nn.dropout import Dropout
from sightline.nn.mask import Mask
from sightline.nn.mixers import GatedConvolution, LastInputs

HALF = math.sqrt(0.5)
"""What a sum of two is scaled by, that it vary as much as each of them (section 3.4)."""


class ConvolutionalLayer(nn.Module):
    """A gated convolution added to its input, and in a decoder attention between (sections 3.2 and 3.3)."""

    def __init__(self, conv: GatedConvolution, cross_attn: CrossAttention | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv, self.cross_attn = conv, cross_attn
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b t m"],
        mask: Mask,
        embedded: Float[Tensor, "b t m"] | None = None,
        state: "LayerState | None" = None,
        memory: "Memory | None" = None,
    ) -> Float[Tensor, "b t m"]:
        """The sequence one layer further; a decoder's needs its embeddings, a state and a memory."""
        h = self.conv(self.dropout(x), mask, None if state is None else state.inputs)
        if self.cross_attn is not None and embedded is not None and state is not None and memory is not None:
            asked = (h + embedded) * HALF
            seen = self.cross_attn(asked, memory.keys, memory.mask, state.cross_attn, memory.values)
            h = (h + seen) * HALF
        return (x + h) * HALF


class ConvolutionalEncoder(Layers[ConvolutionalLayer]):
    """Convolutions one above the other, addressed by number (`encoder.0`), between two matrices (section 3.2)."""

    def __init__(self, layers: Sequence[ConvolutionalLayer], d_model: int) -> None:
        super().__init__(layers)
        self.in_proj, self.out_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)

    def forward(self, embedded: Float[Tensor, "b s m"], exists: Bool[Tensor, "b s"]) -> Float[Tensor, "b s m"]:
        """What the embeddings are in their context: z of the paper."""
        x, mask = self.in_proj(embedded), Mask(keys=exists)
        for layer in self:
            x = layer(x, mask)
        return self.out_proj(x)


class ConvolutionalDecoder(Layers[ConvolutionalLayer]):
    """Causal convolutions with attention, addressed by number, between two matrices (sections 3.2 and 3.3)."""

    def __init__(self, layers: Sequence[ConvolutionalLayer], d_model: int, dropout: float = 0.0) -> None:
        super().__init__(layers)
        self.in_proj, self.out_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, embedded: Float[Tensor, "b t m"], state: "ConvolutionalState") -> Float[Tensor, "b t m"]:
        """The hidden vectors of the steps at hand; `state` is then that after them."""
        x, mask, memory = self.in_proj(embedded), Mask(causal=True), state.memory.standing(state.length)
        for layer, own in zip(self, state.layers, strict=True):
            x = layer(x, mask, embedded, own, memory)
        state.length += embedded.shape[1]
        return self.dropout(self.out_proj(x))


@dataclass(frozen=True)
class Memory:
    """What a decoder looks at: keys are the words in their context, values the same and the words themselves, which tell what
    stands there and not only that it does (section 3.3).
    """

    keys: Float[Tensor, "b s m"]
    values: Float[Tensor, "b s m"]
    exists: Bool[Tensor, "b s"]
    mask: Mask

    def rows(self, index: Int[Tensor, " n"]) -> "Memory":
        """The batch rows named by `index`, copied."""
        exists = self.exists[index]
        return Memory(self.keys[index], self.values[index], exists, Mask(keys=exists))

    def standing(self, at: int) -> "Memory":
        """The same, for queries the first of which stands at `at`."""
        return replace(self, mask=self.mask.standing(at))


class LayerState:
    """What one layer of a decoder remembers between steps."""

    def __init__(self, inputs: LastInputs) -> None:
        self.inputs, self.cross_attn = inputs, MemoryCache()


class ConvolutionalState:
    """What a convolutional decoder remembers between steps: the last inputs of each layer, and the memory it looks at.

    Rows are hypotheses. Rows of the same sentence share the same memory, so the projected memory is copied only when a reordering
    changes which sentence a row belongs to.
    """

    def __init__(self, memory: Memory, layers: list[LayerState]) -> None:
        self.memory, self.layers = memory, layers
        self.length = 0
        self.sentence = torch.arange(len(memory.exists), device=memory.exists.device)

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order; a row may be named several times or not at all."""
        for layer in self.layers:
            layer.inputs.reorder(index)
        sentence = self.sentence[index]
        if torch.equal(sentence, self.sentence):
            return
        self.sentence, self.memory = sentence, self.memory.rows(index)
        for layer in self.layers:
            layer.cross_attn.reorder(index)

    def watch(self) -> None:
        """Have `attention` from the next step on."""
        for layer in self.layers:
            layer.cross_attn.watched = True

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step of each row looked at the source: the mean of all layers and heads."""
        found = [cast(Tensor, layer.cross_attn.weights)[:, :, -1].float() for layer in self.layers]
        return torch.cat(found, dim=1).mean(dim=1)


class Convolutional(SequenceToSequence[ConvolutionalState, ConvolutionalEncoder, ConvolutionalDecoder]):
    """Convolutions read and write, and each layer that writes looks at what was read: see `SequenceToSequence`."""

    def encode(self, src: Int[Tensor, "b s"]) -> Memory:
        """What the decoder looks at. Values are scaled by sqrt(m), for a mean of m of them varies less than each (in section 3.4
        what attention gives is, which is the same); gradients from the decoder's layers are divided by their number (there too).
        """
        embedded, exists = self.src_embed(src), src != self.pad_id
        z = self.encoder(embedded, exists)
        if z.requires_grad:
            z.register_hook(lambda gradient: gradient / len(self.decoder))
        growth = HALF * exists.sum(dim=1)[:, None, None].to(z.dtype).sqrt()
        return Memory(z, (z + embedded) * growth, exists, Mask(keys=exists))

    def hidden(
        self, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], packing: Packing | None = None
    ) -> Float[Tensor, "b t m"]:
        """What the head turns into logits. Raises ValueError for packed rows, in which one sentence would see another."""
        if packing is not None:
            raise ValueError("a convolutional model takes one sentence a row: train without train.compile")
        return self.decoder(self.tgt_embed(tgt), self.start(src))

    def start(self, src: Int[Tensor, "b s"]) -> ConvolutionalState:
        """Read the sources; the state has one row per source."""
        return ConvolutionalState(self.encode(src), [LayerState(layer.conv.cache()) for layer in self.decoder])

    def step(self, tokens: Int[Tensor, " n"], state: ConvolutionalState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        return self.head(self.decoder(self.tgt_embed(tokens[:, None], state.length), state)[:, 0])
