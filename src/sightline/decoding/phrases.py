"""What is asked of the translation of a sentence, as tokens: how it begins, what it holds, what it must not hold."""

from collections.abc import Sequence
from dataclasses import dataclass

Phrase = tuple[int, ...]
"""Tokens that follow one another."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What is asked of the translation of one sentence, as tokens."""

    prefix: Phrase = ()
    """It begins with these, whatever the model thinks of them."""
    include: tuple[Phrase, ...] = ()
    """It holds each of these somewhere; they may overlap."""
    exclude: tuple[Phrase, ...] = ()
    """It holds none of these; the prefix may."""

    @property
    def least(self) -> int:
        """Tokens that are enough for all of it, the end counted."""
        return len(self.prefix) + sum(map(len, self.include)) + 1

    def missing(self, tokens: Sequence[int]) -> list[Phrase]:
        """The phrases to be included that are not in `tokens`."""
        return [phrase for phrase in self.include if not contains(tokens, phrase)]

    def met(self, tokens: Sequence[int]) -> int:
        """How many tokens of the phrases to be included are there, those of the longest one just begun among them."""
        missing = self.missing(tokens)
        whole = sum(map(len, self.include)) - sum(map(len, missing))
        return whole + max((begun(tokens, phrase) for phrase in missing), default=0)

    def next_tokens(self, tokens: Sequence[int]) -> list[int]:
        """What would bring the phrases that are missing further."""
        wanted = (phrase[n] for phrase in self.missing(tokens) for n in {0, begun(tokens, phrase)})
        return list(dict.fromkeys(wanted))


def contains(tokens: Sequence[int], phrase: Phrase) -> bool:
    """Whether the phrase is in it, its tokens side by side."""
    return any(tuple(tokens[i : i + len(phrase)]) == phrase for i in range(len(tokens) - len(phrase) + 1))


def begun(tokens: Sequence[int], phrase: Phrase) -> int:
    """How many of a phrase's first tokens, but not all, are the last of `tokens`."""
    longest = min(len(phrase) - 1, len(tokens))
    return next((n for n in range(longest, 0, -1) if tuple(tokens[len(tokens) - n :]) == phrase[:n]), 0)
