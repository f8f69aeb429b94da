"""A report as one HTML file that needs nothing else: both languages, pictures as SVG, no network."""

import re
from html import escape
from importlib.resources import files
from pathlib import Path

from sightline.files import write_atomically
from sightline.lab.draw import LANGUAGES, Looks, heat_map, line_chart, told
from sightline.lab.parts import HeatMap, LineChart, Said, Table
from sightline.lab.report import Made, Report, Shown

BOTH = tuple(LANGUAGES)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
NUMBER = re.compile(r"[<>≤≥~+\-−]?\s?\d[\d,. ]*(e[+-]?\d+)?\s?(%|M|k|×|x|s|ms)?")
NARROW = 4
"""Columns of a table that may stand beside a chart."""
LINE = 32
"""Letters of a cell from which it may take several lines."""
LONG = 40
"""Letters without a blank from which a cell is set small, to be broken anywhere."""


def write_page(report: Report, path: Path) -> None:
    """Write it, whole or not at all. Raises UserError if it cannot be written."""
    write_atomically(path, page(report))


def page(report: Report) -> str:
    """The HTML."""
    looks = Looks()
    sections = "".join(_section(shown, number, looks) for number, shown in enumerate(report.sections, 1))
    contents = "".join(
        f'<li><a href="#s{number}">{said(shown.section.title)}</a></li>'
        for number, shown in enumerate(report.sections, 1)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(report.title.en)} · {escape(report.title.zh)}</title>
<style>{_file("page.css")}</style>
</head>
<body>
<header>
<fieldset class="switch" aria-label="language / 语言">
<label><input type="radio" name="language" id="in-en" checked><span>English</span></label>
<label><input type="radio" name="language" id="in-zh"><span>中文</span></label>
</fieldset>
<h1>{said(report.title)}</h1>
<div class="lead">{"".join(f"<p>{said(each)}</p>" for each in report.lead)}</div>
<nav><ol>{contents}</ol></nav>
</header>
<main>
{sections}
<footer>{said(Said("Made by sightline.", "由 sightline 生成。"))}</footer>
</main>
<script>{_file("page.js")}</script>
</body>
</html>
"""


def said(text: Said | str) -> str:
    """A text in both languages, of which the page shows one."""
    both = Said(text, text) if isinstance(text, str) else text
    return "".join(
        f'<span lang="{LANGUAGES[tongue]}">{escape(words)}</span>' if tongue else escape(words)
        for tongue, words in told(both, BOTH)
    )


def _file(name: str) -> str:
    return (files("sightline.lab") / name).read_text(encoding="utf-8")


def _section(shown: Shown, number: int, looks: Looks) -> str:
    section = shown.section
    paragraphs = "".join(f"<p>{said(each)}</p>" for each in section.text)
    parts = "".join(_part(part, looks) for part in section.parts)
    return f"""<section id="s{number}">
<h2>{number}. {said(section.title)}</h2>
{paragraphs}
<div class="parts">{parts}</div>
{_made(shown.made)}
</section>
"""


def _made(made: Made) -> str:
    by = said(Said("Made by", "命令"))
    return (
        f'<p class="made">{by} <code>{escape(made.command)}</code> · {escape(made.date)} · {escape(made.machine)}</p>'
    )


def _part(part: LineChart | HeatMap | Table, looks: Looks) -> str:
    if isinstance(part, Table):
        kind = "" if len(part.head) <= NARROW else ' class="wide"'
        return f"<figure{kind}><figcaption>{said(part.title)}</figcaption><div>{_table(part)}</div></figure>"
    caption = f"<figcaption>{said(part.title)}</figcaption>"
    if isinstance(part, LineChart):
        return f"<figure>{caption}<div>{line_chart(part, looks, BOTH)}</div></figure>"
    svg = heat_map(part, BOTH)
    width = re.search(r'viewBox="0 0 (\d+)', svg)
    fixed = f'<svg class="fixed" style="width: {width[1] if width else 400}px" '
    kind = ' class="wide"' if width and int(width[1]) > 540 else ""
    return f"<figure{kind}>{caption}<div>{svg.replace('<svg ', fixed, 1)}</div></figure>"


def _table(table: Table) -> str:
    numbers = [all(_is_number(row[k]) for row in table.rows) for k in range(len(table.head))]

    def cell(tag: str, text: Said | str, k: int) -> str:
        words = text if isinstance(text, str) else text.en
        in_row = "long" if _is_long(text) else "wrap" if len(words) > LINE else ""
        name = "number" if numbers[k] else in_row if tag == "td" else ""
        kind = f' class="{name}"' if name else ""
        return f"<{tag}{kind}>{said(text)}</{tag}>"

    head = "".join(cell("th", text, k) for k, text in enumerate(table.head))
    rows = "".join(f"<tr>{''.join(cell('td', text, k) for k, text in enumerate(row))}</tr>" for row in table.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _is_number(text: Said | str) -> bool:
    return isinstance(text, str) and (text in ("", "–", "-") or NUMBER.fullmatch(text) is not None)


def _is_long(text: Said | str) -> bool:
    return isinstance(text, str) and any(len(word) >= LONG for word in text.split())
