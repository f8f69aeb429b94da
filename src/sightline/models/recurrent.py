"""Recurrent encoder-decoders: what translated before the Transformer, without attention (Sutskever et al. 2014; Cho et al. 2014)
and with it (Bahdanau et al. 2015; Luong et al. 2015).
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.models.sequence_to_sequence import Hypotheses, Packing, SequenceToSequence
from sightline.nn.block import Layers
from sightline.nn.cache import MemoryCache
from sightline.nn.embed import TokenEmbedding
from sightline.nn.heads import VocabularyHead
from sightline.nn.names import Bridge
from sightline.nn.recurrent import AttentiveLayer, RecurrentDecoderLayer, RecurrentEncoderLayer


class RecurrentEncoder(Layers[RecurrentEncoderLayer]):
    """Layers that read one above the other, addressed by number (`encoder.0`)."""

    def __init__(self, layers: Sequence[RecurrentEncoderLayer], residual: bool = False) -> None:
        super().__init__(layers)
        self.residual = residual

    def forward(
        self, x: Float[Tensor, "b s i"], exists: Bool[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b s d"], list[list[Float[Tensor, "b p"]]]]:
        """The memory, and the last states of each layer, for each direction."""
        found = []
        for i, layer in enumerate(self):
            x, last = layer(x, exists, self.residual and i > 0)
            found.append(last)
        return x, found


class RecurrentDecoder(Layers[AttentiveLayer | RecurrentDecoderLayer]):
    """Layers that write, addressed by number; the first may attend. What the last one gives is brought to `d_model` numbers where
    it has others.
    """

    def __init__(
        self,
        first: AttentiveLayer | RecurrentDecoderLayer,
        others: Sequence[RecurrentDecoderLayer],
        d_model: int,
        residual: bool = False,
    ) -> None:
        super().__init__([first, *others])
        self.residual = residual
        width = first.cell.width
        self.out_proj = None if width == d_model else nn.Linear(width, d_model)

    def forward(self, x: Float[Tensor, "b t m"], state: "RecurrentState") -> Float[Tensor, "b t m"]:
        """The hidden vectors of the steps at hand; `state` is then that after them."""
        length = x.shape[1]
        for i, layer in enumerate(self):
            residual = self.residual and i > 0
            if isinstance(layer, AttentiveLayer):
                found = layer(x, state.layers[i], state.memory, state.memory_mask, state.cache, state.length)
            else:
                found = layer(x, state.layers[i], residual)
            x, state.layers[i] = found
        state.length += length
        return x if self.out_proj is None else self.out_proj(x)


class RecurrentState(Hypotheses):
    """What a recurrent decoder remembers between steps: a state for each layer, and the memory it may look at."""

    def __init__(
        self, memory: Float[Tensor, "b s d"], exists: Bool[Tensor, "b s"], layers: list[Float[Tensor, "b p"]]
    ) -> None:
        super().__init__(exists)
        self.memory, self.layers = memory, layers
        self.cache = MemoryCache()

    def reorder_states(self, index: Int[Tensor, " n"]) -> None:  # noqa: D102
        self.layers = [layer[index] for layer in self.layers]

    def reorder_memory(self, index: Int[Tensor, " n"]) -> None:  # noqa: D102
        self.memory = self.memory[index]
        self.cache.reorder(index)


class AttentiveState(RecurrentState):
    """That of a decoder with attention, which can be seen."""

    def watch(self) -> None:
        """Have `attention` from the next step on."""
        self.cache.watched = True

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step of each row looked at the source: the mean of all heads."""
        return cast(Tensor, self.cache.weights).float().mean(dim=1)[:, -1]


class StateBridge(nn.Module):
    """From what an encoder knows at its end to the first state of each layer of a decoder: see `RecurrentConfig.bridge`.

    `parts` is how many vectors of `width` numbers a state has.
    """

    def __init__(self, kind: Bridge, encoder: RecurrentEncoder, n_layers: int, width: int, parts: int) -> None:
        super().__init__()
        self.kind: Bridge = kind
        self.sizes = n_layers, parts * width
        layers = list(encoder)
        self.proj = nn.Linear(layers[-1].width, n_layers * parts * width) if kind in ("dense", "mean") else None

    def forward(
        self, memory: Float[Tensor, "b s d"], exists: Bool[Tensor, "b s"], last: list[list[Float[Tensor, "b p"]]]
    ) -> list[Float[Tensor, "b p"]]:
        """The first state of each layer."""
        n_layers, size = self.sizes
        if self.kind == "copy":
            return [states[0] for states in last]
        if self.proj is None:
            return [memory.new_zeros(memory.shape[0], size) for _ in range(n_layers)]
        if self.kind == "mean":
            known = memory.sum(dim=1) / exists.sum(dim=1, keepdim=True).to(memory.dtype)
        else:
            width = memory.shape[-1] // len(last[-1])
            known = torch.cat([state[:, :width] for state in last[-1]], dim=-1)
        return list(torch.tanh(self.proj(known)).chunk(n_layers, dim=-1))


class Recurrent(SequenceToSequence[RecurrentState, RecurrentEncoder, RecurrentDecoder]):
    """A recurrent network reads, another writes, and a bridge leads from one to the other: see `SequenceToSequence`."""

    def __init__(
        self,
        src_embed: TokenEmbedding,
        tgt_embed: TokenEmbedding,
        encoder: RecurrentEncoder,
        decoder: RecurrentDecoder,
        head: VocabularyHead,
        bridge: StateBridge,
        **ids: int,
    ) -> None:
        super().__init__(src_embed, tgt_embed, encoder, decoder, head, **ids)
        self.bridge = bridge

    def hidden(
        self, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], packing: Packing | None = None
    ) -> Float[Tensor, "b t m"]:
        """What the head turns into logits. Raises ValueError for packed rows, in which one sentence would remember another."""
        if packing is not None:
            raise ValueError("a recurrent model takes one sentence a row: train without train.compile")
        return self.decoder(self.tgt_embed(tgt), self.start(src))

    def start(self, src: Int[Tensor, "b s"]) -> RecurrentState:
        """Read the sources; the state has one row per source."""
        exists = src != self.pad_id
        memory, last = self.encoder(self.src_embed(src), exists)
        states, first = self.bridge(memory, exists, last), next(iter(self.decoder))
        if isinstance(first, AttentiveLayer):
            return AttentiveState(memory, exists, [first.first_state(states[0]), *states[1:]])
        return RecurrentState(memory, exists, states)

    def step(self, tokens: Int[Tensor, " n"], state: RecurrentState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        return self.head(self.decoder(self.tgt_embed(tokens[:, None]), state)[:, 0])
