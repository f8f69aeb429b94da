"""The Transformer of "Attention Is All You Need": an encoder, and a decoder that looks at its memory."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sightline.models.sequence_to_sequence import Hypotheses, Packing, SequenceToSequence
from sightline.nn.block import Stack
from sightline.nn.cache import BlockCache, memory_attention, watch_memory
from sightline.nn.mask import Mask


def _positions(segments: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """How many tokens of its own sentence stand before each."""
    place = torch.arange(segments.shape[1], device=segments.device).expand_as(segments)
    first = torch.ones_like(segments, dtype=torch.bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return place - torch.where(first, place, 0).cummax(dim=1).values


def _together(q: Int[Tensor, "b tq"], k: Int[Tensor, "b tk"]) -> Bool[Tensor, "b 1 tq tk"]:
    return q[:, None, :, None] == k[:, None, None, :]


class DecodingState(Hypotheses):
    """What a Transformer's decoder remembers between steps: the caches of every block, and the memory."""

    def __init__(self, memory: Float[Tensor, "b s m"], exists: Bool[Tensor, "b s"], n_layers: int) -> None:
        super().__init__(exists)
        self.memory = memory
        self.caches = [BlockCache() for _ in range(n_layers)]

    def reorder_states(self, index: Int[Tensor, " n"]) -> None:  # noqa: D102
        for cache in self.caches:
            cache.self_attn.reorder(index)

    def reorder_memory(self, index: Int[Tensor, " n"]) -> None:  # noqa: D102
        self.memory = self.memory[index]
        for cache in self.caches:
            cache.cross_attn.reorder(index)

    def watch(self) -> None:
        """Have `attention` from the next step on."""
        watch_memory(self.caches)

    def attention(self) -> Float[Tensor, "n s"]:
        """How the newest step of each row looked at the source: the mean of all layers and heads."""
        return memory_attention(self.caches)[:, -1]


class EncoderDecoder(SequenceToSequence[DecodingState, Stack, Stack]):
    """The Transformer, from one sequence to another: see `SequenceToSequence`."""

    def encode(self, src: Int[Tensor, "b s"]) -> Float[Tensor, "b s m"]:
        """The memory: one vector per source token, each having looked at all the others."""
        return self.encoder(self.src_embed(src), Mask(keys=src != self.pad_id))

    def decode(
        self, tgt: Int[Tensor, "b t"], memory: Float[Tensor, "b s m"], exists: Bool[Tensor, "b s"]
    ) -> Float[Tensor, "b t m"]:
        """The decoder's last hidden vectors for all target positions at once, each seeing only earlier ones."""
        return self.decoder(self.tgt_embed(tgt), Mask(causal=True), memory, Mask(keys=exists))

    def hidden(
        self, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], packing: Packing | None = None
    ) -> Float[Tensor, "b t m"]:
        """What the head turns into logits: for a loss that never holds all of them."""
        if packing is None:
            return self.decode(tgt, self.encode(src), src != self.pad_id)
        of_src, of_tgt = packing.src_segments, packing.tgt_segments
        at_src, at_tgt = _positions(of_src), _positions(of_tgt)
        memory = self.encoder(self.src_embed(src, at_src), Mask(pairs=_together(of_src, of_src), at=at_src))
        own = Mask(causal=True, pairs=_together(of_tgt, of_tgt), at=at_tgt)
        other = Mask(pairs=_together(of_tgt, of_src), at=at_tgt)
        return self.decoder(self.tgt_embed(tgt, at_tgt), own, memory, other)

    def start(self, src: Int[Tensor, "b s"]) -> DecodingState:
        """Encode the sources; the state has one row per source."""
        return DecodingState(self.encode(src), src != self.pad_id, len(self.decoder))

    def step(self, tokens: Int[Tensor, " n"], state: DecodingState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        x = self.tgt_embed(tokens[:, None], state.length)
        mask = Mask(causal=True, offset=state.length)
        memory_mask = state.memory_mask.standing(state.length)
        hidden = self.decoder(x, mask, state.memory, memory_mask, state.caches)
        state.length += 1
        return self.head(hidden[:, 0])
