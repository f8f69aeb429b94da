"""Which source word each target word comes from, as the decoder's attention to the source shows it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sightline.data.batches import collate
from sightline.data.tokenizers import Tokenizer
from sightline.errors import UserError
from sightline.inspection.trace import trace
from sightline.metrics.alignment import Gold, Links, alignment_error_rate
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.attention import CrossAttention
from sightline.tasks.search import length_groups

BATCH_TOKENS = 8192
Words = Sequence[str]
"""A sentence cut into words."""


@dataclass(frozen=True, order=True)
class Place:
    """Where in a model an alignment is read."""

    layer: int
    """Of the decoder, from 0."""
    head: int | None = None
    """Of the attention to the source, from 0; None: the mean of all."""
    after: bool = False
    """Whether a word is read where it goes into the decoder (Chen et al. 2020), and not where it comes out of it."""

    def __str__(self) -> str:
        return f"{self.layer}{'' if self.head is None else f':{self.head}'}{'r' if self.after else 'w'}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The inverse of `str`: "1:3r" is layer 1, head 3, reading the word; "1w" the mean of all heads, writing it; r is meant
        where neither is said. Raises ValueError if it is none.
        """
        match = re.fullmatch(r"(\d+)(?::(\d+))?([rw]?)", text)
        if match is None:
            raise ValueError(f"{text!r} is no place")
        return cls(int(match[1]), None if match[2] is None else int(match[2]), match[3] != "w")


@dataclass(frozen=True)
class Pieces:
    """A sentence as token ids without tag and end, and the word of each."""

    ids: list[int]
    words: list[int]

    @classmethod
    def of(cls, words: Words, encode: Callable[[list[str]], list[list[int]]]) -> "Pieces":
        """Words are encoded one by one, so that no token is part of two; `encode` ends each with eos. A mark cut off from its
        word, as in "tea .", is encoded as if it was not.
        """
        alone = encode(["a", "."])  # what a blank before a mark is: [blank, mark] where "." has no token with one
        found = [row[:-1] for row in encode(list(words))] if words else []
        blank = alone[1][0] if len(alone[1]) == 3 else -1
        for word, row in zip(words, found, strict=True):
            if len(row) > 1 and row[0] == blank and not word[:1].isalnum():
                del row[0]
        return cls([token for row in found for token in row], [i for i, row in enumerate(found) for _ in row])


def places(model: AnyModel) -> list[Place]:
    """Everywhere that an alignment can be read: nowhere in a model without attention."""
    found: list[Place] = []
    for layer, attention in _to_source(model).items():
        heads = [None, *range(attention.n_heads)]
        found += [Place(layer, head, after) for head in heads for after in (False, True)]
    return found


def usual_place(model: AnyModel) -> Place:
    """Where an alignment is read that nobody chose a place for: the mean of all heads of the last layer but one that looks at the
    source. In a Transformer a word is read where it goes in (Chen et al. 2020), in other models where it comes out, as Bahdanau
    et al. 2015 (section 5.2.1) read theirs.

    Raises UserError for a model without attention.
    """
    layers = list(_to_source(model))
    if not layers:
        raise UserError(
            "This model has no attention, so it does not show which word comes from which: take one that has."
        )
    return Place(layers[max(0, len(layers) - 2)], None, isinstance(model, EncoderDecoder))


def _to_source(model: AnyModel) -> dict[int, CrossAttention]:
    """The attention to the source, by the decoder's layer."""
    found = {i: getattr(layer, "cross_attn", None) for i, layer in enumerate(model.decoder)}
    return {i: each for i, each in found.items() if isinstance(each, CrossAttention)}


def align(
    model: AnyModel, tokenizer: Tokenizer, pairs: Sequence[tuple[Words, Words]], to: str, where: Sequence[Place]
) -> list[list[Links]]:
    """For each place the alignment of each pair of source and target words: every target token is linked to the source token that
    it looks at most, and the words are linked that hold them. `to` is the tag of the target language, "" if there is none.
    """
    results: list[list[Links]] = [[frozenset()] * len(pairs) for _ in where]
    for rows, src, tgt, maps in _attention(model, tokenizer, pairs, to):
        for k, place in enumerate(where):
            weights = maps[place.layer].mean(dim=1) if place.head is None else maps[place.layer][:, place.head]
            for b, i in enumerate(rows):
                results[k][i] = _links(weights[b], src[b], tgt[b], bool(to), place.after)
    return results


def _links(weights: Float[Tensor, "t s"], src: Pieces, tgt: Pieces, tagged: bool, after: bool) -> Links:
    first = int(tagged)  # the tag is no word; nor is the end, which comes after the pieces
    rows = weights[int(after) : int(after) + len(tgt.ids), first : first + len(src.ids)]
    best = rows.argmax(dim=1).tolist() if rows.numel() else []
    return frozenset((src.words[s], tgt.words[t]) for t, s in enumerate(best))


@torch.inference_mode()
def _attention(
    model: AnyModel, tokenizer: Tokenizer, pairs: Sequence[tuple[Words, Words]], to: str
) -> Iterator[tuple[list[int], list[Pieces], list[Pieces], dict[int, Float[Tensor, "b h t s"]]]]:
    """The attention to the source of every decoder layer that has it, over given translations, batch by batch."""
    sides = (
        [Pieces.of(src, tokenizer.encode_src) for src, _ in pairs],
        [Pieces.of(tgt, tokenizer.encode_tgt) for _, tgt in pairs],
    )
    tag, end = [tokenizer.tag_id(to)] if to else [], [tokenizer.eos_id]
    device = next(model.parameters()).device
    lengths = [max(len(src.ids), len(tgt.ids)) + 2 for src, tgt in zip(*sides, strict=True)]
    for rows in length_groups(lengths, BATCH_TOKENS):
        src, tgt = ([side[i] for i in rows] for side in sides)
        given = [([*tag, *s.ids, *end], [*t.ids, *end]) for s, t in zip(src, tgt, strict=True)]
        batch = collate(given, torch.tensor(rows).numpy(), tokenizer.pad_id, tokenizer.bos_id).to(device)
        with trace(model, "decoder.*.cross_attn") as seen:
            model.hidden(batch.src, batch.tgt_in)
        yield rows, src, tgt, {i: seen[f"decoder.{i}.cross_attn"].float().cpu() for i in _to_source(model)}


def agreement(forth: Sequence[Links], back: Sequence[Links]) -> float:
    """How far the alignments of two directions are the same, from 0 to 1: the share of links that the other has too."""
    gold = [Gold(links, links) for links in back]
    return 1.0 - alignment_error_rate(list(forth), gold).error_rate / 100


def turned(links: Links) -> Links:
    """Source and target exchanged."""
    return frozenset((j, i) for i, j in links)


def best_places(
    model: AnyModel, tokenizer: Tokenizer, pairs: Sequence[tuple[Words, Words]], langs: tuple[str, str]
) -> tuple[Place, Place, float]:
    """Where to read alignments from source to target, and from target to source, in a model that translates both ways between
    `langs`; and how far the two agree. No gold alignment is needed: where both directions say the same, they are mostly
    right (Chen et al. 2020, section 3.3, choose their layer so).
    """
    where = places(model)
    forth = align(model, tokenizer, pairs, langs[1], where)
    back = align(model, tokenizer, [(tgt, src) for src, tgt in pairs], langs[0], where)
    turned_back = [[turned(links) for links in found] for found in back]
    best = max(
        ((agreement(forth[a], turned_back[b]), a, b) for a in range(len(where)) for b in range(len(where))),
        key=lambda found: found[0],
    )
    return where[best[1]], where[best[2]], best[0]
