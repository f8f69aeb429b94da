"""Texts in, translations out, by a model that searches on its own or by the searches of `decoding`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from sightline.data.tokenizers import Tokenizer
from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.searcher import Searcher
from sightline.decoding.settings import DecodingSettings
from sightline.tasks.phrases import Wanted

if TYPE_CHECKING:
    from sightline.data.batches import Side
    from sightline.decoding.protocol import Decodable

NOTHING = Wanted()


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
    model: "Decodable[Any] | Searcher",
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
    if isinstance(model, Searcher) and not wanted and model.searches(settings):
        todo.sort(key=lambda i: -len(sources[i]))
        found = model.search([list(sources[i]) for i in todo], settings, threads)
    else:
        from sightline.tasks.batched import search

        found = search(cast("Decodable[Any]", model), tokenizer, [sources[i] for i in todo], settings, wanted, threads)
    for i, hypotheses in zip(todo, found, strict=True):
        written = [Translated(tokenizer.decode_tgt(h.tokens), h.score, h, cut[i]) for h in hypotheses]
        results[i] = most_alike(written, settings.n_best) if settings.mbr else written
    return results


def most_alike(drawn: list[Translated], count: int) -> list[Translated]:
    """Of translations drawn at random, those that are most like all the others, best first, each once: their score is the mean of
    their chrF against the others, from 0 to 1, which is what they may be expected to have against a translation that is right.
    """
    from sightline.metrics.translation import sentence_chrf

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


def shortened(ids: "Side", most: int, eos_id: int) -> "Side":
    """At most `most` tokens, the end the last."""
    return ids if len(ids) <= most else [*ids[: most - 1], eos_id]


def length_groups(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of `lengths`, longest first, in groups whose padded size stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, batch_tokens // lengths[order[0]])
        yield order[:size]
        order = order[size:]
