"""The searches of `decoding` over batches of sentences of like length, with torch; and what is scored in such batches."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.data.batches import Side, pad
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.beam import beam_search
from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.phrases import Constraint, Phrase
from sightline.decoding.protocol import Decodable
from sightline.decoding.sampling import at_random, sample
from sightline.decoding.scoring import score
from sightline.decoding.settings import DecodingSettings
from sightline.decoding.walk import greedy, most_probable, walking
from sightline.errors import DataError
from sightline.tasks.phrases import Wanted
from sightline.tasks.search import length_groups, shortened

ROUNDS = 8
"""Searches for a translation that holds no excluded phrase in any tokens."""


def search(
    model: Decodable[Any],
    tokenizer: Tokenizer,
    sources: Sequence[Side],
    settings: DecodingSettings,
    wanted: Wanted,
    threads: int,
) -> list[list[Hypothesis]]:
    """What is found for each source: see `tasks.search.translate`."""
    device = _device(model)
    width = settings.mbr or (settings.n_best if settings.sample else settings.beam)
    groups = list(length_groups([len(source) for source in sources], settings.batch_tokens // width))
    results: list[list[Hypothesis]] = [[] for _ in sources]

    def work(group: list[int]) -> None:
        src = pad([sources[i] for i in group], tokenizer.pad_id).to(device)
        for i, found in zip(group, _search(model, tokenizer, src, settings, wanted), strict=True):
            results[i] = found

    if threads == 1 or len(groups) == 1:
        for group in groups:
            work(group)
        return results
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, "translate", torch.set_num_threads, (1,)) as pool:
            list(pool.map(work, groups))
    finally:
        torch.set_num_threads(before)
    return results


def _search(
    model: Decodable[Any], tokenizer: Tokenizer, src: Tensor, settings: DecodingSettings, wanted: Wanted
) -> list[list[Hypothesis]]:
    """Translations of a batch. Those that hold an excluded phrase in other tokens than its own are searched for again, without
    these tokens; those left after `ROUNDS` times are given only where there is no other.
    """
    if not wanted:
        return _found(model, src, settings, None)
    also: list[set[Phrase]] = [set() for _ in src]
    results: list[list[Hypothesis]] = [[] for _ in src]
    rows = list(range(len(src)))
    for _ in range(ROUNDS):
        constraints = [wanted.as_tokens(tokenizer, sorted(also[row])) for row in rows]
        again = []
        for row, found in zip(rows, _found(model, src[rows], settings, constraints), strict=True):
            forbidden = [wanted.forbidden_tokens(tokenizer, each.tokens) for each in found]
            results[row] = [each for each, tokens in zip(found, forbidden, strict=True) if not tokens] or found
            if any(forbidden):
                also[row].update(filter(None, forbidden))
                again.append(row)
        if not (rows := again):
            break
    return results


def _found(
    model: Decodable[Any], src: Tensor, settings: DecodingSettings, constraints: list[Constraint] | None
) -> list[list[Hypothesis]]:
    if settings.mbr:
        return sample(model, src, settings.model_copy(update={"n_best": settings.mbr}), constraints)
    if settings.sample:
        return sample(model, src, settings, constraints)
    if settings.beam == 1 and not (constraints and constraints[0].include):
        return [[best] for best in greedy(model, src, settings, constraints)]
    return beam_search(model, src, settings, constraints)


def translate_gradually(
    model: Decodable[Any], tokenizer: Tokenizer, text: str, to: str, settings: DecodingSettings, max_len: int
) -> Iterator[str]:
    """The greedy translation of one text, or with `sample` a random one, as it grows; arguments as of `translate`."""
    if not text.strip():
        return
    ids = tokenizer.encode_src([text], to)[0]
    src = pad([shortened(ids, max_len, tokenizer.eos_id)], tokenizer.pad_id).to(_device(model))
    choose = at_random(model, src, settings) if settings.sample else most_probable
    for [tokens] in walking(model, src, settings, None, choose):
        yield tokenizer.decode_tgt(tokens)


@dataclass(frozen=True)
class Scored:
    """How probable a translation is that somebody has written."""

    score: float
    """Log-probability, normalised by length as the decoding settings say."""
    log_prob: float
    """Log-probability in nats."""
    pieces: list[tuple[str, float]]
    """The tokens, the end of the sentence among them, and the log-probability of each."""


def score_texts(
    model: Decodable[Any],
    tokenizer: Tokenizer,
    texts: Sequence[str],
    translations: Sequence[str],
    to: str | Sequence[str] | None,
    settings: DecodingSettings,
    max_len: int,
) -> list[Scored]:
    """How probable the model finds each text's translation; arguments as of `translate`.

    Raises DataError if there are not as many translations as texts, or one side of a pair has more than `max_len` tokens.
    """
    if len(texts) != len(translations):
        raise DataError(f"{len(texts)} texts and {len(translations)} translations: each text needs its translation.")
    sources, targets = tokenizer.encode_src(texts, to), tokenizer.encode_tgt(translations)
    lengths = [max(len(source), len(target)) for source, target in zip(sources, targets, strict=True)]
    for text, length in zip(texts, lengths, strict=True):
        if length > max_len:
            raise DataError(
                f"A pair has {length} tokens on a side, and the model takes {max_len}: {text[:60]!r}. Cut it in two."
            )
    results: list[Scored | None] = [None] * len(texts)
    names, device = tokenizer.names_tgt(), _device(model)
    for rows in length_groups(lengths, settings.batch_tokens):
        src, tgt = (pad([side[i] for i in rows], tokenizer.pad_id).to(device) for side in (sources, targets))
        for i, found in zip(rows, score(model, src, tgt, settings), strict=True):
            pieces = [(names[token], p) for token, p in zip(targets[i], found.token_log_probs, strict=True)]
            results[i] = Scored(found.score, found.log_prob, pieces)
    return [found for found in results if found is not None]


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device if isinstance(model, nn.Module) else model.device
