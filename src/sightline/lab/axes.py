"""From numbers to places on a drawing, and the ticks between."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MOST_TICKS = 7


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: Sequence[float]

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, log: bool, from_zero: bool = False) -> "Axis":
        """That holds all finite values (a logarithmic one all above zero); with `from_zero` zero too where it costs little."""
        seen = sorted({value for value in values if math.isfinite(value) and (value > 0 or not log)}) or [1.0]
        low, high = seen[0], seen[-1]
        if log:
            few = len(seen) <= MOST_TICKS + 2 and low < high and all(value == round(value) for value in seen)
            ticks = seen if few else _decades(low, high)
            low, high = min(low, ticks[0]), max(high, ticks[-1])
            if low == high:
                low, high = low / 2, high * 2
        else:
            if from_zero and 0 < low < 0.6 * high:
                low = 0.0
            if low == high:
                low, high = (0.0, 2 * high) if high > 0 else (low - 1, high + 1)
            ticks = _round_numbers(low, high)
            low, high = min(low, ticks[0]), max(high, ticks[-1])
        return cls(low, high, start, end, log, ticks)

    def shows(self, value: float) -> bool:
        """Whether there is such a place."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def at(self, value: float) -> float:
        """Where a value lies."""
        value, low, high = (math.log(x) if self.log else x for x in (value, self.low, self.high))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 2)


def _round_numbers(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, the outer ones just beyond `low` and `high`."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(n * power for n in (1, 2, 5, 10) if (high - low) / (n * power) <= MOST_TICKS - 2)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(n * step, 12) for n in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between them; over less than three of these, 1, 2 and 5 times such, or all multiples; or else the two."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    stride = max(1, math.ceil((last - first) / (MOST_TICKS - 1)))
    for times in ((1,), (1, 2, 5), range(1, 10))[high <= 500 * low :]:
        ticks = [n * 10.0**e for e in range(last, first - 1, -stride) for n in times]
        inner = sorted(tick for tick in ticks if low <= tick <= high)
        if len(inner) > 1:
            return inner
    return [low, high]


def label(value: float) -> str:
    """A number as short as it can be said on an axis."""
    if value == 0:
        return "0"
    exponent = math.log10(abs(value))
    if abs(value) < 1e-3 or abs(value) >= 1e9:
        power = math.floor(exponent + 1e-9)
        times = round(value / 10.0**power, 2)
        return ("" if times == 1 else f"{times:g}·") + "10" + str(power).translate(SUPERSCRIPTS)
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= 10 * size or (abs(value) >= size and unit == " M"):
            return f"{value / size:g}{unit}"
    return f"{value:.4g}"
