"""Which language a side is in, as far as its characters tell: to find source and target swapped."""

import math
import re
from collections import Counter
from collections.abc import Iterable

from sightline.errors import DataError

_SCRIPTS = {
    "zh": "[\u3400-\u9fff]",
    "ja": "[\u3040-\u30ff]",
    "ko": "[\uac00-\ud7af]",
    "ru": "[\u0400-\u04ff]",
    "uk": "[\u0400-\u04ff]",
    "bg": "[\u0400-\u04ff]",
    "el": "[\u0370-\u03ff]",
    "he": "[\u0590-\u05ff]",
    "ar": "[\u0600-\u06ff]",
    "fa": "[\u0600-\u06ff]",
    "hi": "[\u0900-\u097f]",
    "th": "[\u0e00-\u0e7f]",
}
_CLEARLY = 0.1


class Profile:
    """How often each run of three characters occurs on a side, from a few thousand of its sentences."""

    most = 3000

    def __init__(self, texts: Iterable[str] = ()):
        self.counts: Counter[str] = Counter()
        self.sentences = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Count a sentence, unless enough have been counted."""
        if self.sentences < self.most:
            self.sentences += 1
            padded = f" {text[:500].lower()} "
            self.counts.update(padded[i : i + 3] for i in range(len(padded) - 2))

    def likeness(self, other: "Profile") -> float:
        """Cosine of the two counts: near 1 for the same language, well below for another."""
        product = sum(count * other.counts[gram] for gram, count in self.counts.items())
        return product / max(1e-9, self._norm() * other._norm())

    def share(self, script: str) -> float:
        """The part of the runs that hold a character of the script of a language."""
        found = re.compile(_SCRIPTS[script])
        return sum(n for gram, n in self.counts.items() if found.search(gram)) / max(1, self.counts.total())

    def _norm(self) -> float:
        return math.sqrt(sum(count * count for count in self.counts.values()))


Sides = tuple[Profile, Profile]


def check_order(first: Sides, first_name: str, second: Sides, second_name: str) -> None:
    """Raises DataError when the second corpus, clearly, has its sides the other way round than the first."""
    straight = (first[0].likeness(second[0]) + first[1].likeness(second[1])) / 2
    crossed = (first[0].likeness(second[1]) + first[1].likeness(second[0])) / 2
    if crossed > straight + _CLEARLY:
        raise DataError(
            f"the two sides of {second_name} are swapped: its source reads like the target of {first_name}, and its "
            f"target like the source (likeness {crossed:.2f} crossed, {straight:.2f} as given). "
            "Swap src and tgt, or the two columns."
        )


def check_languages(sides: Sides, languages: tuple[str, str], name: str) -> None:
    """Raises DataError when a language with a script of its own is found on the other side than it was said to be."""
    for language, own, other in ((languages[0], *sides), (languages[1], *reversed(sides))):
        code = language.lower().split("-")[0].split("_")[0]
        if code in _SCRIPTS and own.share(code) < 0.1 < 0.3 < other.share(code):
            raise DataError(
                f"the two sides of {name} are swapped: {language} is said to be on one side and found on the other. "
                "Swap src and tgt (or the two columns), or src_lang and tgt_lang."
            )
