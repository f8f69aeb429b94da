"""What was found in a corpus."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Dropped:
    """Pairs left out of training for one reason, and where the first of them stand."""

    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lengths:
    """Tokens a sentence, end token included."""

    mean: float
    p95: int
    longest: int

    @classmethod
    def of(cls, histogram: np.ndarray) -> "Lengths":
        """From how many sentences there are of each length: [longest + 1]."""
        total = int(histogram.sum())
        if not total:
            return cls(0.0, 0, 0)
        p95 = int(np.searchsorted(np.cumsum(histogram), 0.95 * total))
        mean = float(histogram @ np.arange(len(histogram)) / total)
        return cls(round(mean, 2), p95, int(np.flatnonzero(histogram)[-1]))


@dataclass(frozen=True)
class SetAside:
    """The validation or test set."""

    origin: str
    """The file it was read from, or "held out"."""
    examples: int
    """Unique sources (for each target language)."""
    references: int
    inside_training: int = 0
    """Training pairs dropped because a sentence of theirs is in this set."""
    unknown: int = 0
    """Tokens that the vocabulary does not have."""
    unknown_examples: tuple[str, ...] = ()
    too_long: int = 0
    """Sources with more than max_len tokens."""


@dataclass(frozen=True)
class Sample:
    """A training pair as the model sees it; | stands between tokens."""

    src: str
    tgt: str


@dataclass(frozen=True)
class Report:
    """What was found in a corpus and done with it."""

    corpora: dict[str, int]
    """Pairs read of each corpus."""
    read: int
    kept: int
    """Pairs that are trained on (each in both directions, if that is set)."""
    held_out: int
    dropped: dict[str, Dropped]
    copies: int
    """Pairs with both sides the same, dropped or not."""
    src_lengths: Lengths
    tgt_lengths: Lengths
    ratio: float
    """Target tokens for each source token."""
    correlation: float
    """Of the two lengths of a pair: near 0 when the lines of two files do not belong together."""
    tokenizer: str
    src_vocab_size: int
    tgt_vocab_size: int
    joint: bool
    sets: dict[str, SetAside]
    samples: tuple[Sample, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    duplicates: int = 0
    """Pairs that are the same as an earlier one."""
    duplicates_dropped: bool = True
    unknown: int = 0
    """Tokens of the training text that the vocabulary does not have."""

    def to_json(self) -> str:
        """The report as a JSON document."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The inverse of `to_json`. Raises ValueError, KeyError or TypeError if it is not such a document."""
        found: dict[str, Any] = json.loads(text)
        found["dropped"] = {k: Dropped(v["count"], tuple(v["examples"])) for k, v in found["dropped"].items()}
        found["sets"] = {
            k: SetAside(**{**v, "unknown_examples": tuple(v["unknown_examples"])}) for k, v in found["sets"].items()
        }
        found["src_lengths"], found["tgt_lengths"] = (Lengths(**found[k]) for k in ("src_lengths", "tgt_lengths"))
        found["samples"] = tuple(Sample(**sample) for sample in found["samples"])
        return cls(**{**found, "warnings": tuple(found["warnings"])})
