"""Texts in, translations out: the searches of `decoding`, over text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sightline.data.batches import Side, pad
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.beam import beam_search
from sightline.decoding.constraints import Constraint, Phrase
from sightline.decoding.greedy import greedy, most_probable, walking
from sightline.decoding.protocol import Decodable, DecodingSettings, Hypothesis, Searcher
from sightline.decoding.sampling import at_random, sample
from sightline.decoding.scoring import score
from sightline.errors import DataError
from sightline.metrics.translation import sentence_chrf
from sightline.tasks.phrases import Wanted

NOTHING = Wanted()
ROUNDS = 8
"""Searches for a translation that holds no excluded phrase in any tokens."""


@dataclass(frozen=True)
class Translated:
    """One translation of one sentence."""

    text: str
    score: float
    """Log-probability, normalised by length as the decoding settings say."""
    hypothesis: Hypothesis
    """The tokens and what the model gave each of them."""
    truncated: bool = False
    """The source had more tokens than the model takes; the rest was left out."""


def translate(
    model: Decodable[Any],
    tokenizer: Tokenizer,
    texts: Sequence[str],
    to: str | Sequence[str] | None,
    settings: DecodingSettings,
    max_len: int,
    wanted: Wanted = NOTHING,
    threads: int = 1,
) -> list[list[Translated]]:
    """The `settings.n_best` best translations of each text, best first.

    Sentences of like length are translated together, `settings.batch_tokens` at a time; the order of `texts` is kept. An
    empty text gives one empty translation. `to` is the target language for models with target tags, one for all or one
    per text; `wanted` is asked of every translation. With several `threads`, so many groups are translated side by side, each by
    one processor thread: many small operations wait less for each other so than where all threads share each of them. A model
    that searches on its own gets all sentences.
    """
    sources = tokenizer.encode_src(texts, to)
    cut = [len(ids) > max_len for ids in sources]
    sources = [shortened(ids, max_len, tokenizer.eos_id) for ids in sources]
    results: list[list[Translated]] = [[Translated("", 0.0, Hypothesis([], 0.0, 0.0, [], True))] for _ in texts]
    todo = [i for i, text in enumerate(texts) if text.strip()]

    def written(i: int, hypotheses: list[Hypothesis]) -> list[Translated]:
        return [Translated(tokenizer.decode_tgt(h.tokens), h.score, h, cut[i]) for h in hypotheses]

    if isinstance(model, Searcher) and not wanted and model.searches(settings):
        todo.sort(key=lambda i: -len(sources[i]))
        for i, hypotheses in zip(todo, model.search([list(sources[i]) for i in todo], settings, threads), strict=True):
            results[i] = written(i, hypotheses)
        return results
    device = _device(model)
    width = settings.mbr or (settings.n_best if settings.sample else settings.beam)
    groups = list(length_groups([len(sources[i]) for i in todo], settings.batch_tokens // width))

    def work(group: list[int]) -> None:
        rows = [todo[k] for k in group]
        src = pad([sources[i] for i in rows], tokenizer.pad_id).to(device)
        for i, hypotheses in zip(rows, _search(model, tokenizer, src, settings, wanted), strict=True):
            found = written(i, hypotheses)
            results[i] = most_alike(found, settings.n_best) if settings.mbr else found

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


def most_alike(drawn: list[Translated], count: int) -> list[Translated]:
    """Of translations drawn at random, those that are most like all the others, best first, each once: their score is the mean of
    their chrF against the others, from 0 to 1, which is what they may be expected to have against a translation that is right.
    """
    counts = Counter(each.text for each in drawn)
    texts = list(counts)
    likeness = sentence_chrf(texts)
    value = {
        text: sum(likeness[i][k] * (counts[other] - (other == text)) for k, other in enumerate(texts))
        / max(1, len(drawn) - 1)
        for i, text in enumerate(texts)
    }
    first = {each.text: each for each in reversed(drawn)}
    best = sorted(texts, key=lambda text: -value[text])[:count]
    return [replace(first[text], score=value[text]) for text in best]


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


def shortened(ids: Side, most: int, eos_id: int) -> Side:
    """At most `most` tokens, the end the last."""
    return ids if len(ids) <= most else [*ids[: most - 1], eos_id]


def length_groups(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of `lengths`, longest first, in groups whose padded size stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, batch_tokens // lengths[order[0]])
        yield order[:size]
        order = order[size:]


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
