"""The same words in another order: what a model makes of it, with positions and without (Vaswani et al. 2017, section
3.5).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.bundle import Bundle
from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import greedy
from sightline.errors import ConfigError
from sightline.inspection.alignment import Pieces, Words
from sightline.lab.parts import Said, Section, Table
from sightline.lab.probes.flow import flow
from sightline.lab.probes.fresh import FIRST_WORD, Trained, Untrained, fresh
from sightline.models.config import ModelConfig
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.attention import SelfAttention
from sightline.nn.position import Position

SENTENCE = "Tom hit Jerry"
VOCAB = 100
"""Words of untrained models."""
ROUNDING = 1e-5
"""Float32 vectors of about unit size that differ by less are the same."""


@dataclass(frozen=True)
class Permuted:
    """What changed when the words of a sentence came in another order."""

    cosine: float
    """Between the encoder's vectors of the same word in both sentences: the mean over the words, end of the sentence
    included.
    """
    apart: float
    """The largest difference between numbers of such vectors."""
    variation: float
    """Total variation between the two distributions of the first word of the translation: 0 the same, 1 nothing in
    common.
    """
    tokens: tuple[list[int], list[int]]
    """Greedy translations of both."""

    @property
    def blind(self) -> bool:
        """Whether nothing but rounding changed: the model cannot know the order."""
        return self.apart < ROUNDING and self.variation < ROUNDING


def order_of(words: Words, other: Words) -> list[int]:
    """Which of `words` each of `other` is; of equal ones, the first is the first.

    Raises ConfigError if they are not the same words.
    """
    left = list(enumerate(words))
    order: list[int] = []
    for word in other:
        found = next((pair for pair in left if pair[1] == word), None)
        if found is None:
            break
        left.remove(found)
        order.append(found[0])
    if left or len(order) != len(other) or not order:
        raise ConfigError(
            f'"{" ".join(other)}" is no other order of the words of "{" ".join(words)}": give the same words, separated by '
            "blanks."
        )
    return order


@torch.inference_mode()
def permute(model: AnyModel, src: Int[Tensor, " s"], order: Sequence[int]) -> Permuted:
    """Compare a sentence with the one whose token i is token `order[i]` of it.

    Raises ValueError if `order` is no order of its tokens.
    """
    if sorted(order) != list(range(len(src))):
        raise ValueError(f"{list(order)} is no order of {len(src)} tokens")
    other, back = src[list(order)], torch.tensor(order).argsort()
    memories: list[Float[Tensor, "s d"]] = []
    firsts: list[Float[Tensor, " vocab"]] = []
    begin = torch.tensor([[model.bos_id]])
    for ids in (src, other):
        with flow(model) as seen, torch.inference_mode():
            firsts.append(torch.softmax(model(ids[None], begin)[0, 0].double(), dim=-1))
        memories.append(seen.memory[0].double())
    one, two = memories[0], memories[1][back]
    written = [_translation(model, ids) for ids in (src, other)]
    return Permuted(
        cosine=float(torch.cosine_similarity(one, two, dim=-1).mean()),
        apart=float((one - two).abs().max()),
        variation=float((firsts[0] - firsts[1]).abs().sum() / 2),
        tokens=(written[0], written[1]),
    )


def _translation(model: AnyModel, src: Int[Tensor, " s"]) -> list[int]:
    settings = DecodingSettings(beam=1, max_len_ratio=1.0, max_len_extra=5)
    return list(greedy(model, src[None], settings)[0].tokens)


def without_positions(model: AnyModel) -> AnyModel:
    """A copy whose encoder is not told where words stand: nothing is added to the source's embeddings, and no query or
    key turned. Of a recurrent or convolutional model that is no blindness: its layers are in order themselves.
    """
    changed: Any = copy.deepcopy(model)
    was = changed.src_embed.position
    changed.src_embed.position = Position(was.d_model, was.max_len, was.n_heads)
    for module in changed.encoder.modules():
        if isinstance(module, SelfAttention):
            module.rotate = None
    return changed


def has_positions(model: AnyModel) -> bool:
    """Whether its encoder is told where words stand."""
    return type(model.src_embed.position) is not Position


def at_first(config: ModelConfig, words: Words, order: Sequence[int], seed: int = 1) -> list[tuple[bool, Permuted]]:
    """Of an untrained model, with positions if it has them, and without: one token for each word, and the end of the
    sentence, which stays where it is.
    """
    known = {word: FIRST_WORD + i for i, word in enumerate(dict.fromkeys(words))}
    src = torch.tensor([*(known[word] for word in words), 2])
    model = fresh(config, max(VOCAB, FIRST_WORD + len(known)), len(src) + 1, seed)
    return _both(model, src, [*order, len(words)])


def of_trained(bundle: Bundle, words: Words, order: Sequence[int], to: str) -> list[tuple[bool, Permuted]]:
    """Of a trained model, and of the same whose positions are taken away from it. Words stay whole; a tag `to` ("" for
    none) and the end of the sentence stay where they are.
    """
    tokenizer = bundle.tokenizer
    pieces = Pieces.of(words, tokenizer.encode_src)
    head = [tokenizer.tag_id(to)] if to else []
    of_word = [[i for i, word in enumerate(pieces.words) if word == k] for k in range(len(words))]
    moved = [i for k in order for i in of_word[k]]
    src = torch.tensor([*head, *pieces.ids, tokenizer.eos_id])
    whole = [*range(len(head)), *(len(head) + i for i in moved), len(src) - 1]
    return _both(bundle.model, src, whole)


def _both(model: AnyModel, src: Int[Tensor, " s"], order: Sequence[int]) -> list[tuple[bool, Permuted]]:
    told = has_positions(model)
    found = [(told, permute(model, src, order))]
    return [*found, (False, permute(without_positions(model), src, order))] if told else found


def permutation_section(
    systems: Sequence[Untrained] = (),
    trained: Sequence[Trained] = (),
    sentence: str = SENTENCE,
    to: str = "",
    other: str | None = None,
    seed: int = 1,
) -> Section:
    """A sentence and another of the same words, if none is given that with its first and last words exchanged, through each
    system as it is and without positions. `to` is the target language of trained models that have tags. Raises ConfigError
    if the words are not the same, or there are none.
    """
    words = sentence.split()
    if other is None:
        other = " ".join([*words[-1:], *words[1:-1], *words[: len(words) > 1]])
    order = order_of(words, other.split())
    rows: list[list[str | Said]] = []
    for name, config in systems:
        for told, found in at_first(config, words, order, seed):
            rows.append([name, _told(told), *_numbers(found)])
    texts: list[list[str | Said]] = []
    for name, bundle in trained:
        label = Said(f"{name.en}, trained", f"{name.zh}（训练后）")
        for told, found in of_trained(bundle, words, order, to if bundle.tokenizer.tags else ""):
            rows.append([label, _told(told), *_numbers(found)])
            written = [bundle.tokenizer.decode_tgt(each) for each in found.tokens]
            texts.append([name, _told(told), *written])
    tables = [
        Table(
            Said(f'"{sentence}" and "{other}"', f"“{sentence}”与“{other}”"),
            [
                Said("System", "系统"),
                Said("Told where words stand", "告知词的位置"),
                Said("Same word: cosine", "同一词的余弦"),
                Said("largest difference", "最大差"),
                Said("First word written: total variation", "首个译词：总变差"),
                Said("Knows the order", "知道词序"),
            ],
            rows,
        )
    ]
    if texts:
        tables.append(
            Table(
                Said("Translations", "译文"),
                [
                    Said("System", "系统"),
                    Said("Told where words stand", "告知词的位置"),
                    Said(sentence, sentence),
                    Said(other, other),
                ],
                texts,
            )
        )
    return Section(
        Said("Who hit whom?", "谁打了谁？"),
        [
            Said(
                "Attention alone does not know in which order words stand: without positions, the encoder gives each word "
                f"the same vector wherever it is, up to rounding ({ROUNDING:g}), and the translation cannot differ. Recurrent "
                "and convolutional layers go along the sentence, and know the order without being told. A trained model "
                "whose positions are taken away was not trained so; it shows what it had learned from them.",
                f"注意力本身不知道词序：没有位置信息时，无论词在何处，编码器给它的向量都相同（至多差舍入误差 {ROUNDING:g}），"
                "译文也不可能不同。循环层和卷积层沿句子行进，不用告知也知道词序。训练后再去掉位置的模型并非如此训练而成，它"
                "显示的是从位置中学到了什么。",
            )
        ],
        tables,
    )


def _told(positions: bool) -> Said:
    return Said("yes", "是") if positions else Said("no", "否")


def _numbers(found: Permuted) -> list[str | Said]:
    knows = Said("no", "否") if found.blind else Said("yes", "是")
    return [f"{found.cosine:.4f}", f"{found.apart:.1e}", f"{found.variation:.1e}", knows]
