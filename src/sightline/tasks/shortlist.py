"""A shortlist learned from the corpus that a model was trained on."""

from collections.abc import Callable, Iterator

import numpy as np

from sightline.data.text import Pairs
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.shortlist import Pair, Shortlist, learn


def learn_shortlist(
    pairs: Pairs, tokenizer: Tokenizer, progress: Callable[[str, int, int | None], None] = lambda *_: None
) -> Shortlist:
    """For each target language what the source tokens are translated to in the pairs, a random sample of them if they are many.

    `progress` hears of each language, and how many are done.
    """
    sizes, languages = (tokenizer.src_vocab_size, tokenizer.tgt_vocab_size), tokenizer.tags or ("",)
    order = np.random.default_rng(0).permutation(len(pairs))
    lexicons = {}
    for done, language in enumerate(languages):
        progress(f"learning a shortlist{language and f' into {language}'}", done, len(languages))
        tag = tokenizer.tag_id(language) if language else -1
        lexicons[tag] = learn(_pairs(pairs, order, tag), sizes, tokenizer.eos_id)
    return Shortlist(lexicons)


def _pairs(pairs: Pairs, order: np.ndarray, tag: int) -> Iterator[Pair]:
    """Those into one language, without tag and end; all of them if `tag` is -1."""
    for i in order.tolist():
        src, tgt = pairs.pair(i)
        if tag < 0:
            yield src[:-1], tgt[:-1]  # pyright: ignore[reportReturnType]
        elif src[0] == tag:
            yield src[1:-1], tgt[:-1]  # pyright: ignore[reportReturnType]
