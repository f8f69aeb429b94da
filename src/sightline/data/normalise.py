"""Text as a model sees it: Unicode form, case and blanks."""

import re
import unicodedata
from typing import Literal

BLANK = "▁"
Form = Literal["none", "nfc", "nfkc", "nfkc-all"]

_STARTS_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_NOT_KEPT = re.compile("[^\u2026\u3001-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]+")


def normalise(text: str, form: Form, lowercase: bool = False) -> str:
    """The text as the model sees it: Unicode form and case as set, a run of whitespace one blank, none at the ends."""
    if not text.isascii():
        if form == "nfkc-all":
            text = unicodedata.normalize("NFKC", text)
        elif form == "nfc":
            text = unicodedata.normalize("NFC", text)
        elif form == "nfkc" and not unicodedata.is_normalized("NFKC", text):
            text = _NOT_KEPT.sub(lambda part: unicodedata.normalize("NFKC", part[0]), text)
        text = text.replace(BLANK, "_")
    if lowercase:
        text = text.lower()
    return " ".join(text.split())


def starts_unspaced(text: str) -> bool:
    """Whether a text begins in a script that puts no blanks between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese."""
    return _STARTS_UNSPACED.match(text) is not None


def mark_blanks(text: str, always: bool) -> str:
    """Blanks as marks: "A dog" -> "▁A▁dog"; none before a text that begins in an unspaced script, unless `always`."""
    if text and (always or not starts_unspaced(text)):
        text = " " + text
    return text.replace(" ", BLANK)
