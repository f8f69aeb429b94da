"""How translations are to be scored."""

from typing import Annotated, Literal

from pydantic import Field

from sightline.config import Settings


class MetricSettings(Settings):
    """How translations are scored."""

    tokenize: Literal["auto", "13a", "zh", "char", "intl", "none", "ja-mecab", "ko-mecab"] = "auto"
    """sacreBLEU's tokenizer for BLEU. auto: zh for Chinese, char for other languages written without blanks, else 13a;
    by the target language or, when that is not given, by the script of the references."""
    lowercase: bool = False
    """BLEU and chrF regardless of case (TER always is)."""
    length_edges: Annotated[tuple[int, ...], Field(min_length=1)] = (5, 10, 15, 20, 30, 50)
    """BLEU by length: the last length of each group but the longest."""
