"""What a report is made of, in English and Chinese, before it is a page."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Said:
    """A text in both languages."""

    en: str
    zh: str


@dataclass(frozen=True)
class Line:
    """A curve, and where it may as well be: from `low` to `high`."""

    name: Said
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True)
class LineChart:
    """Curves over the same axes."""

    title: Said
    x: Said
    y: Said
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class HeatMap:
    """Numbers from 0 to 1 as a picture: rows look at columns."""

    title: Said
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers that are texts already."""

    title: Said
    head: Sequence[Said]
    rows: Sequence[Sequence[str | Said]]


@dataclass(frozen=True)
class Section:
    """A question, what was seen, and the pictures and tables that show it."""

    title: Said
    text: Sequence[Said]
    parts: Sequence[LineChart | HeatMap | Table] = field(default_factory=tuple)
