"""Charts as SVG: text stays text, each series has a colour, a dash and a mark of its own, and each point tells its value.

The colours are those of Okabe and Ito (2008), which colour-blind people tell apart.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from sightline.lab.axes import Axis, label
from sightline.lab.parts import HeatMap, Line, LineChart, Said

LANGUAGES = {"en": "en", "zh": "zh-CN"}
"""The languages of a `Said`, and what HTML calls them."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
DASHES = ("", "7 3", "2 3", "9 3 2 3", "")
WIDTH, PLOT_HEIGHT = 520.0, 260.0
SIZE = 14
"""Of text, in the units of the drawing."""
MARKED = 12
"""Points of a line that get a mark; between them it is dashed only."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn."""

    number: int

    @property
    def colour(self) -> str:
        """Its colour on white."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def dash(self) -> str:
        """Its dashes, as SVG writes them."""
        return DASHES[self.number % len(DASHES)]

    def mark(self, x: float, y: float, size: float = 4.2) -> str:
        """Its mark at a place."""
        n = self.number % 7
        if n == 0:
            return f'<circle cx="{x}" cy="{y}" r="{size}"/>'
        shapes: dict[int, list[tuple[float, float]]] = {
            1: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            2: [(0, -1.2), (1.1, 0.9), (-1.1, 0.9)],
            3: [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
            4: [(0, 1.2), (1.1, -0.9), (-1.1, -0.9)],
            5: [(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)],
            6: [(-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)],
        }
        points = " ".join(f"{x + size * a:.2f},{y + size * b:.2f}" for a, b in shapes[n])
        return f'<polygon points="{points}"/>'


class Looks:
    """The looks of the series of a report. Those of its first chart keep theirs wherever their names appear."""

    def __init__(self) -> None:
        self._kept: dict[Said, Look] = {}

    def of(self, names: Sequence[Said]) -> dict[Said, Look]:
        """The look of each series of a chart: its own, or one that no other there has."""
        found = {name: self._kept[name] for name in names if name in self._kept}
        taken = {look.number for look in found.values()}
        free = (number for number in itertools.count() if number not in taken)
        found |= {name: Look(next(free)) for name in dict.fromkeys(names) if name not in found}
        self._kept = self._kept or found
        return found


@dataclass
class Drawing:
    """SVG elements, as they come, in some languages: "en", "zh" or both, of which the page then shows one."""

    languages: Sequence[str]
    elements: list[str] = field(default_factory=list)

    def add(self, element: str) -> None:
        """An element as it is."""
        self.elements.append(element)

    def text(self, x: float, y: float, said: Said | str, more: str = "") -> None:
        """A text, in each language."""
        said = Said(said, said) if isinstance(said, str) else said
        for tongue, words in told(said, self.languages):
            mark = f' lang="{LANGUAGES[tongue]}"' if tongue else ""
            self.add(f'<text x="{x:.1f}" y="{y:.1f}"{mark}{more}>{escape(words)}</text>')

    def finished(self, width: float, height: float, said: Said) -> str:
        """The whole picture, which is called `said`."""
        name = " / ".join(words for _, words in told(said, self.languages))
        return (
            f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(name)}" '
            f'font-family="system-ui, sans-serif" font-size="{SIZE}" fill="#222222">{"".join(self.elements)}</svg>'
        )


def told(said: Said, languages: Sequence[str]) -> list[tuple[str, str]]:
    """A text in the languages, or once with "" where they say the same."""
    if said.en == said.zh:
        return [("", said.en)]
    return [(each, getattr(said, each)) for each in languages]


def wide(words: str) -> float:
    """About how wide a text is drawn."""
    return SIZE * sum(1.0 if ord(letter) > 0x2E80 or letter == "▁" else 0.56 for letter in words)


def picture(part: LineChart | HeatMap, looks: Looks, languages: Sequence[str]) -> str:
    """A part of a section as SVG, to stand in a page."""
    return line_chart(part, looks, languages) if isinstance(part, LineChart) else heat_map(part, languages)


def picture_file(part: LineChart | HeatMap, looks: Looks, language: str) -> str:
    """The same as a file of its own, on white, in one language."""
    svg = picture(part, looks, [language])
    return svg.replace(
        "<svg ", f'<svg xmlns="http://www.w3.org/2000/svg" lang="{LANGUAGES[language]}" style="background: white" ', 1
    )


def line_chart(chart: LineChart, looks: Looks, languages: Sequence[str]) -> str:
    """Curves with their bands, axes and a legend."""
    drawing = Drawing(languages)
    right, top = WIDTH - 14, 12.0
    bottom = top + PLOT_HEIGHT
    heights = [y for line in chart.lines for y in (*line.y, *(line.low or ()), *(line.high or ()))]
    y = Axis.over(heights, bottom, top, chart.log_y, from_zero=True)
    left = 32 + max(wide(label(tick)) for tick in y.ticks)
    x = Axis.over([x for line in chart.lines for x in line.x], left, right, chart.log_x)
    for tick in y.ticks:
        drawing.add(
            f'<line class="grid" stroke="#dddddd" x1="{left}" x2="{right}" y1="{y.at(tick)}" y2="{y.at(tick)}"/>'
        )
        drawing.text(left - 7, y.at(tick) + 5, label(tick), ' text-anchor="end"')
    for tick in _apart(x):
        drawing.add(
            f'<line class="grid" stroke="#dddddd" x1="{x.at(tick)}" x2="{x.at(tick)}" y1="{bottom}" y2="{bottom + 5}"/>'
        )
        drawing.text(x.at(tick), bottom + 20, label(tick), ' text-anchor="middle"')
    drawing.text((left + right) / 2, bottom + 40, chart.x, ' text-anchor="middle"')
    middle = (top + bottom) / 2
    drawing.text(13, middle, chart.y, f' text-anchor="middle" transform="rotate(-90 13 {middle})"')
    seen = looks.of([line.name for line in chart.lines])
    for line in chart.lines:
        _band(drawing, line, seen[line.name], x, y)
    for line in chart.lines:
        _curve(drawing, line, seen[line.name], x, y)
    height = _legend(drawing, seen, 8.0, bottom + 64)
    return drawing.finished(WIDTH, height, chart.title)


def _apart(axis: Axis) -> list[float]:
    """The ticks whose labels do not touch."""
    kept: list[float] = []
    for tick in axis.ticks:
        if not kept or axis.at(tick) - axis.at(kept[-1]) > (wide(label(tick)) + wide(label(kept[-1]))) / 2 + 6:
            kept.append(tick)
    return kept


def _series(number: int) -> str:
    return f'class="s{number % len(COLOURS)}"'


def _band(drawing: Drawing, line: Line, look: Look, x: Axis, y: Axis) -> None:
    if line.low is None or line.high is None:
        return
    every = zip(line.x, line.low, line.high, strict=True)
    rows = [each for each in every if x.shows(each[0]) and y.shows(each[1]) and y.shows(each[2])]
    if len(rows) < 2:
        for at, low, high in rows:
            drawing.add(
                f'<g {_series(look.number)}><line class="stroke" stroke="{look.colour}" x1="{x.at(at)}" x2="{x.at(at)}" '
                f'y1="{y.at(low)}" y2="{y.at(high)}"/></g>'
            )
        return
    points = [(x.at(a), y.at(high)) for a, _, high in rows] + [(x.at(a), y.at(low)) for a, low, _ in reversed(rows)]
    said = " ".join(f"{a},{b}" for a, b in points)
    drawing.add(
        f'<g {_series(look.number)}><polygon class="fill" fill="{look.colour}" fill-opacity="0.13" points="{said}"/></g>'
    )


def _curve(drawing: Drawing, line: Line, look: Look, x: Axis, y: Axis) -> None:
    """The line between neighbouring points that can be shown, and at each of them what it says."""
    points = [(a, b) if x.shows(a) and y.shows(b) else None for a, b in zip(line.x, line.y, strict=True)]
    dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
    path, pen = "", "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        path, pen = f"{path}{pen}{x.at(point[0])} {y.at(point[1])}", "L"
    drawing.add(f'<g {_series(look.number)} fill="{look.colour}">')
    if path:
        drawing.add(f'<path class="stroke" fill="none" stroke="{look.colour}" stroke-width="2"{dash} d="{path}"/>')
    every = max(1, math.ceil(len(points) / MARKED))
    for i, point in enumerate(points):
        if point is None:
            continue
        at = x.at(point[0]), y.at(point[1])
        shown = i % every == 0 or i == len(points) - 1
        mark = look.mark(*at) if shown else f'<circle cx="{at[0]}" cy="{at[1]}" r="6" fill-opacity="0"/>'
        names = " / ".join(words for _, words in told(line.name, drawing.languages))
        value = f"{names}: {point[0]:.4g}, {point[1]:.4g}"
        if line.low is not None and line.high is not None:
            value += f" ({line.low[i]:.4g} … {line.high[i]:.4g})"
        drawing.add(f'<g class="point"><title>{escape(value)}</title>{mark}</g>')
    drawing.add("</g>")


def _legend(drawing: Drawing, looks: Mapping[Said, Look], left: float, top: float) -> float:
    """Names with their looks, in as many rows as they take. Returns where they end."""
    x, y = left, top
    for name, look in looks.items():
        width = 44 + max(wide(words) for _, words in told(name, drawing.languages))
        if x > left and x + width > WIDTH:
            x, y = left, y + 22
        dash = f' stroke-dasharray="{look.dash}"' if look.dash else ""
        drawing.add(
            f'<g {_series(look.number)} fill="{look.colour}"><line class="stroke" stroke="{look.colour}" stroke-width="2"{dash} '
            f'x1="{x}" x2="{x + 26}" y1="{y - 5}" y2="{y - 5}"/>{look.mark(x + 13, y - 5)}</g>'
        )
        drawing.text(x + 32, y, name)
        x += width + 8
    return y + 10


CELL = 28.0


def heat_map(chart: HeatMap, languages: Sequence[str]) -> str:
    """A grid of cells, the darker the nearer to 1; each tells its value."""
    drawing = Drawing(languages)
    left = 10 + max((wide(row) for row in chart.rows), default=0.0)
    top = 20 + 0.82 * max((wide(column) for column in chart.columns), default=0.0)
    for k, column in enumerate(chart.columns):
        at = left + (k + 0.6) * CELL
        drawing.text(at, top - 6, column, f' transform="rotate(-55 {at:.1f} {top - 6:.1f})"')
    for i, (row, values) in enumerate(zip(chart.rows, chart.values, strict=True)):
        y = top + i * CELL
        drawing.text(left - 6, y + CELL / 2 + 5, row, ' text-anchor="end"')
        for column, value, k in zip(chart.columns, values, range(len(values)), strict=True):
            said = escape(f"{row} → {column}: {value:.3f}")
            share = min(1.0, max(0.0, value)) if math.isfinite(value) else 0.0
            drawing.add(
                f'<g class="cell"><title>{said}</title><rect class="grid" x="{left + k * CELL:.1f}" y="{y:.1f}" width="{CELL}" '
                f'height="{CELL}" fill="#0072B2" fill-opacity="{share:.3f}" stroke="#dddddd"/></g>'
            )
    width = left + len(chart.columns) * CELL + 0.6 * max((wide(column) for column in chart.columns[-3:]), default=0.0)
    return drawing.finished(width + 6, top + len(chart.rows) * CELL + 6, chart.title)
