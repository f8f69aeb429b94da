"""The errors a person sees: one paragraph each, naming the file, line or key, the value, and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["BundleError", "ConfigError", "DataError", "UserError", "most_similar", "nearest", "out_of_memory"]


class UserError(Exception):
    """Something the user can put right.

    ``str(error)`` is the whole message, one paragraph; the command line prints it after ``error: `` and exits with
    status 2, without a traceback.
    """


class ConfigError(UserError):
    """A recipe, a setting or an override that cannot be used."""


class DataError(UserError):
    """A corpus, or a file of text, that cannot be used."""


class BundleError(UserError):
    """A folder with a trained model that cannot be used."""


def out_of_memory(error: BaseException) -> bool:
    """Whether it says, in Python's way or one of torch's, that there is no memory left."""
    signs = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
    )


def most_similar(word: str, choices: Iterable[str]) -> str | None:
    """The one of ``choices`` that ``word`` was most likely meant to be, or None. Case is ignored."""
    by_lower = {choice.lower(): choice for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def nearest(word: str, choices: Iterable[str]) -> str:
    """The sentence that offers the most similar of ``choices``, ready to be appended to a message.

    Returns ``" Did you mean 'x'?"`` or, when nothing is similar enough, the empty string.
    """
    found = most_similar(word, choices)
    return f" Did you mean '{found}'?" if found else ""
