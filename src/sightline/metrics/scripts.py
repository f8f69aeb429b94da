"""Which of sacreBLEU's tokenizers suits a language or a script."""

import re
from collections.abc import Iterable
from itertools import islice

CHINESE = ("zh", "zho", "chi", "cmn", "yue", "wuu", "lzh")
WITHOUT_BLANKS = ("ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya", "bur", "bo", "bod", "tib")

HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
"""A Chinese character, wherever it is used."""
_OTHER_WITHOUT_BLANKS = re.compile(r"[\u3040-\u30ff\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")
"""Kana; Thai and Lao; Tibetan; Burmese; Khmer."""


def tokenizer_for(texts: Iterable[str], lang: str = "") -> str:
    """`zh` for Chinese, `char` for other languages written without blanks (Japanese, Thai ...), else `13a`.

    `lang` decides ("zh", "zh-TW", "zho_Hans", "ja"). When it is empty the first 1,000 `texts` do: if at least half of
    their letters are of such a script, they are Chinese unless one in twenty of those letters is not Han.
    """
    if lang:
        family = re.split(r"[-_]", lang.lower())[0]
        return "zh" if family in CHINESE else "char" if family in WITHOUT_BLANKS else "13a"
    text = "".join(islice(texts, 1000))
    letters = sum(map(str.isalpha, text))
    han, other = len(HAN.findall(text)), len(_OTHER_WITHOUT_BLANKS.findall(text))
    if not letters or 2 * (han + other) < letters:
        return "13a"
    return "char" if 20 * other >= han + other else "zh"
