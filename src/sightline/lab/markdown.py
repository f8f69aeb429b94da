"""A report as Markdown, a file for each language, with its pictures as SVG files beside it."""

import re
from pathlib import Path

from sightline.files import write_atomically
from sightline.lab.draw import Looks, picture_file
from sightline.lab.parts import Said, Table
from sightline.lab.report import Report

ENDINGS = {"en": ".md", "zh": ".zh.md"}
MADE_BY = Said("Made by", "命令")


def write_markdown(report: Report, folder: Path) -> None:
    """Write NAME.md and NAME.zh.md into `folder`, and their pictures into `folder`/pictures.

    Raises UserError if they cannot be written.
    """
    for language, ending in ENDINGS.items():
        text, pictures = markdown(report, language)
        for name, svg in pictures.items():
            write_atomically(folder / name, svg)
        write_atomically(folder / f"{report.name}{ending}", text)


def markdown(report: Report, language: str) -> tuple[str, dict[str, str]]:
    """The text in one language, and its pictures by their paths."""
    looks, pictures = Looks(), dict[str, str]()

    def plain(said: Said | str) -> str:
        return _escaped(said if isinstance(said, str) else getattr(said, language))

    lines = [f"# {plain(report.title)}", *(plain(each) for each in report.lead)]
    for shown in report.sections:
        lines += [f"## {plain(shown.section.title)}", *(plain(each) for each in shown.section.text)]
        for part in shown.section.parts:
            lines.append(f"**{plain(part.title)}**")
            if isinstance(part, Table):
                rows = [part.head, ["---"] * len(part.head), *part.rows]
                cells = [[cell if cell == "---" else plain(cell) for cell in row] for row in rows]
                lines.append("\n".join(f"| {' | '.join(row)} |" for row in cells))
                continue
            name = f"pictures/{report.name}-{len(pictures) + 1:02d}{'' if language == 'en' else f'.{language}'}.svg"
            pictures[name] = picture_file(part, looks, language)
            lines.append(f"![{plain(part.title)}]({name})")
        made = shown.made
        lines.append(f"{plain(MADE_BY)} {_as_code(made.command)} · {_escaped(made.date)} · {_escaped(made.machine)}")
    return "\n\n".join(lines) + "\n", pictures


def _escaped(text: str) -> str:
    """As it is, where Markdown and HTML would see signs of theirs."""
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", " ".join(text.split()))


def _as_code(text: str) -> str:
    """Between more backticks than it has in a row."""
    text = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    return f"`{text}`" if not longest else f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}"
