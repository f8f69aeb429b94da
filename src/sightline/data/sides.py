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
_WORDS = {
    "en": "the of and to a in is that it was for on are with as i his they be at this have from or had by not but what we "
    "can you there which she do how their if will up about out many then them these so some her would make him has "
    "two more",
    "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat "
    "dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis "
    "mehr durch man ich",
    "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont avec ils elle mais "
    "nous vous je on son sa ses leur été cette tout fait comme aux même ont bien être ou où dit si très sans",
    "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin sobre "
    "este ya entre cuando todo esta ser son dos también fue había era muy años hasta desde está mi porque qué",
    "it": "di e il la che in a per un è del non una sono si con da i le come dei nel alla più al gli della ha ma anche lo "
    "su o se ci mi questo quando essere tutto molto dove cosa perché solo sua suo hanno stato tra",
    "pt": "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou "
    "ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos",
    "nl": "de van een het en in is dat op te zijn met voor niet aan er om ook als dan maar bij of uit nog naar heeft hij ze "
    "wordt door over haar wat zou kan worden deze tot had ik je was dit al geen hebben ze toch",
    "sv": "och i att det som en på är av för med den till inte om ett han men var jag sig från vi så kan när år de har nu "
    "eller under vid hade skulle också efter mot över alla sin",
    "pl": "i w na nie z się do że to jest o jak a ale po co tak za od jego być tym już tylko był czy przez dla jej ich może "
    "gdy który które jako bardzo jeszcze mnie ma",
}
"""The commonest words of languages that share the Latin script: enough to tell them apart, not to name any language."""
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
    """Raises DataError when a language is found, clearly, on the other side than it was said to be: by its script or, for some
    languages in Latin script, by its commonest words.
    """
    for language, own, other in ((languages[0], *sides), (languages[1], *reversed(sides))):
        code = language.lower().split("-")[0].split("_")[0]
        if code in _SCRIPTS and own.share(code) < 0.1 < 0.3 < other.share(code):
            raise DataError(
                f"the two sides of {name} are swapped: {language} is said to be on one side and found on the other. "
                "Swap src and tgt (or the two columns), or src_lang and tgt_lang."
            )
    codes = [language.lower().split("-")[0].split("_")[0] for language in languages]
    if codes[0] != codes[1] and all(code in _WORDS for code in codes):
        known = Profile([_WORDS[codes[0]]]), Profile([_WORDS[codes[1]]])
        straight = sides[0].likeness(known[0]) + sides[1].likeness(known[1])
        crossed = sides[0].likeness(known[1]) + sides[1].likeness(known[0])
        if crossed > straight + 2 * _CLEARLY:
            raise DataError(
                f"the two sides of {name} are swapped: the source reads like {languages[1]}, and the target like "
                f"{languages[0]}. Swap src and tgt (or the two columns), or src_lang and tgt_lang."
            )
