"""A model that searches on its own, and how long a translation may become."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.settings import DecodingSettings


@runtime_checkable
class Searcher(Protocol):
    """A model that searches on its own, for many sentences at once, whatever their lengths."""

    def searches(self, settings: DecodingSettings) -> bool:
        """Whether it can do so under these settings."""
        ...

    def search(
        self, sources: Sequence[Sequence[int]], settings: DecodingSettings, threads: int
    ) -> list[list[Hypothesis]]:
        """What `beam_search`, with a beam of 1 `greedy`, gives for each source; the longest sources should come first."""
        ...


@runtime_checkable
class Vocabulary(Protocol):
    """The tokens that are no words."""

    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def bos_id(self) -> int: ...  # noqa: D102
    @property
    def eos_id(self) -> int: ...  # noqa: D102


def step_limit(model: Vocabulary, source: Sequence[int], settings: DecodingSettings) -> int:
    """The most steps for a sentence: the tokens of its translation, the end of the sentence counted.

    `int(max_len_ratio * source tokens) + max_len_extra`, where padding, begin and end of the source do not count. It is at
    least 1, gives way to `min_len` and never exceeds the model's own `max_len`, if it has one.
    """
    special = {model.pad_id, model.bos_id, model.eos_id}
    words = sum(token not in special for token in source)
    limit = max(int(settings.max_len_ratio * words) + settings.max_len_extra, settings.min_len + 1)
    most: int | None = getattr(model, "max_len", None)
    return limit if most is None else min(limit, most)
