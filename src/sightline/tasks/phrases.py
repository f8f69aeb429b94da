"""What a person may ask of a translation, in words: how it begins, what it holds, what it must not hold."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sightline.data.normalise import starts_unspaced
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.phrases import Constraint, Phrase


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a translation. Phrases are whole words, written as they are to come, capital letters included."""

    prefix: str = ""
    """It begins so; the last word may be half a word."""
    include: tuple[str, ...] = ()
    """Each of these comes somewhere."""
    exclude: tuple[str, ...] = ()
    """None of these comes."""

    def __bool__(self) -> bool:
        return bool(self.prefix or self.include or self.exclude)

    def as_tokens(self, tokenizer: Tokenizer, also: Iterable[Phrase] = ()) -> Constraint:
        """The same for a search, with more runs of tokens that must not come.

        A phrase may be written in other tokens than its own; for those see `forbidden_tokens`.
        """

        def tokens(text: str) -> Phrase:
            return tuple(tokenizer.encode_tgt([text])[0][:-1])

        exclude = [phrase for text in self.exclude if (phrase := tokens(text))]
        include = tuple(phrase for text in self.include if (phrase := tokens(text)))
        return Constraint(tokens(self.prefix), include, (*exclude, *also))

    def forbidden_tokens(self, tokenizer: Tokenizer, found: list[int]) -> Phrase:
        """The fewest tokens of a translation in which an excluded phrase stands; () if it holds none."""
        text = tokenizer.decode_tgt(found)
        for pattern in map(_as_words, self.exclude):
            if pattern.search(text):
                spans = ((i, j) for i in range(len(found)) for j in range(i + 1, len(found) + 1))
                for i, j in sorted(spans, key=lambda span: span[1] - span[0]):
                    if pattern.search(tokenizer.decode_tgt(found[i:j])):
                        return tuple(found[i:j])
        return ()


def _as_words(phrase: str) -> re.Pattern[str]:
    """Finds a phrase that is no part of a longer word; where words have no blanks between them, anywhere."""
    before = r"(?<!\w)" if phrase[:1].isalnum() and not starts_unspaced(phrase) else ""
    after = r"(?!\w)" if phrase[-1:].isalnum() and not starts_unspaced(phrase[-1:]) else ""
    return re.compile(before + re.escape(phrase) + after)
