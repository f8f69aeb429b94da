"""What every family of models from one sequence to another has in common."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.nn.block import Layers
from sightline.nn.embed import TokenEmbedding
from sightline.nn.heads import VocabularyHead
from sightline.nn.mask import Mask


@dataclass(frozen=True)
class Packing:
    """Several sentences in a row of source tokens, and their translations in the row of target tokens, one after another.

    Segments count the sentences of a row from 1; 0 is padding. A token sees its own sentence only, and its position is that in
    the sentence.
    """

    src_segments: Int[Tensor, "b s"]
    tgt_segments: Int[Tensor, "b t"]


class Hypotheses:
    """What a decoder remembers between steps: here which sentence each row is of. A family adds its states, and its memory.

    Rows are hypotheses. Rows of the same sentence share the same memory, so what was projected from it is copied only when a
    reordering changes which sentence a row belongs to. `exists` says which tokens of the sources are no padding.
    """

    def __init__(self, exists: Bool[Tensor, "b s"]) -> None:
        self.exists, self.memory_mask = exists, Mask(keys=exists)
        self.length = 0
        """Tokens that each row has written."""
        self._sentence = torch.arange(exists.shape[0], device=exists.device)

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order; a row may be named several times or not at all."""
        self.reorder_states(index)
        sentence = self._sentence[index]
        if torch.equal(sentence, self._sentence):
            return
        self._sentence, self.exists = sentence, self.exists[index]
        self.memory_mask = Mask(keys=self.exists)
        self.reorder_memory(index)

    def reorder_states(self, index: Int[Tensor, " n"]) -> None:
        """Keep some rows of what differs between hypotheses."""
        raise NotImplementedError(f"{type(self).__name__} must define reorder_states(index)")

    def reorder_memory(self, index: Int[Tensor, " n"]) -> None:
        """Keep some rows of what is a sentence's."""
        raise NotImplementedError(f"{type(self).__name__} must define reorder_memory(index)")


State = TypeVar("State", bound=Hypotheses)
Encoder = TypeVar("Encoder", bound=Layers[Any])
Decoder = TypeVar("Decoder", bound=Layers[Any])


class SequenceToSequence(nn.Module, Generic[State, Encoder, Decoder]):
    """Source tokens in, logits over target tokens out; a `Decodable`.

    Shapes: src [b, s], tgt [b, t], logits [b, t, vocab]; padding is `pad_id`, at the end of a row.

    A family says what its `hidden` vectors are, how it begins to `start`, and how it takes a `step`.
    """

    def __init__(
        self,
        src_embed: TokenEmbedding,
        tgt_embed: TokenEmbedding,
        encoder: Encoder,
        decoder: Decoder,
        head: VocabularyHead,
        *,
        pad_id: int = 0,
        bos_id: int = 1,
        eos_id: int = 2,
    ) -> None:
        super().__init__()
        self.src_embed, self.tgt_embed = src_embed, tgt_embed
        self.encoder, self.decoder = encoder, decoder
        self.head = head
        self.pad_id, self.bos_id, self.eos_id = pad_id, bos_id, eos_id

    @property
    def max_len(self) -> int:
        """The most tokens of a translation."""
        return self.tgt_embed.position.max_len

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.tgt_embed.tokens.weight.device

    def hidden(
        self, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"], packing: Packing | None = None
    ) -> Float[Tensor, "b t m"]:
        """What the head turns into logits, for all target positions at once: for a loss that never holds all of them."""
        raise NotImplementedError(f"{type(self).__name__} must define hidden(src, tgt)")

    def forward(self, src: Int[Tensor, "b s"], tgt: Int[Tensor, "b t"]) -> Float[Tensor, "b t vocab"]:
        """Logits for the token after each target position; `tgt` begins with `bos_id`."""
        return self.head(self.hidden(src, tgt))

    def start(self, src: Int[Tensor, "b s"]) -> State:
        """Read the sources; the state has one row per source."""
        raise NotImplementedError(f"{type(self).__name__} must define start(src)")

    def step(self, tokens: Int[Tensor, " n"], state: State) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        raise NotImplementedError(f"{type(self).__name__} must define step(tokens, state)")


AnyModel = SequenceToSequence[Any, Any, Any]
"""A model of any family."""
