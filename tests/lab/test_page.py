import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sightline.errors import UserError
from sightline.lab.draw import COLOURS, Looks, heat_map, line_chart, picture_file
from sightline.lab.markdown import markdown, write_markdown
from sightline.lab.page import page, write_page
from sightline.lab.parts import HeatMap, Line, LineChart, Said, Section, Table
from sightline.lab.report import Kept, Made, Report, Shown

EVIL = "<script>alert('x')</script> & \"quoted\" | pipe `tick` *star*"
MADE = Made("sightline compare a b <c>", "2026-11-28 09:00 +0000", "a machine & more")
CHART = LineChart(
    Said("A chart", "一张图"),
    Said("x words", "横轴"),
    Said("y words", "纵轴"),
    [
        Line(Said("first", "第一"), [1, 2, 4], [0.5, math.nan, 0.25], [0.4, 0.4, 0.2], [0.6, 0.6, 0.3]),
        Line(Said("same", "same"), [1, 2, 4], [0.1, 0.0, 1e-4]),
        Line(Said(EVIL, EVIL), [1], [0.3], [0.2], [0.4]),
    ],
    log_x=True,
    log_y=True,
)
HEAT = HeatMap(Said("A map", "热图"), ["a", "<b>"], ["x", "y", "z"], [[0.0, 0.25, 1.0], [0.5, math.nan, 2.0]])
TABLE = Table(
    Said("A table", "一张表"), [Said("name", "名字"), Said("n", "数")], [[Said("one", "一"), "1.5"], [EVIL, "12 %"]]
)


@pytest.fixture
def report() -> Report:
    section = Section(
        Said("A question", "一个问题"), [Said("Seen.", "看到了。"), Said(EVIL, EVIL)], [CHART, HEAT, TABLE]
    )
    other = Section(Said("Another", "另一个"), [Said("More.", "更多。")])
    return Report("some", Said("Title", "标题"), [Said("Lead.", "导语。")], [Shown(section, MADE), Shown(other, MADE)])


VOID = {"meta", "input", "br", "img", "link"}


class Tags(HTMLParser):
    """Checks that elements are closed in their order, and collects what they are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        for tag in self.open:
            self.texts[tag] = self.texts.get(tag, "") + data


def test_the_page_is_well_formed_has_both_languages_and_asks_for_nothing_from_elsewhere(report: Report):
    text = page(report)
    tags = Tags(text)
    kinds = Counter(tag for tag, _ in tags.seen)
    assert (kinds["section"], kinds["svg"], kinds["table"], kinds["h1"], kinds["script"]) == (2, 2, 1, 1, 1)
    assert not {"img", "link", "iframe", "object", "base"} & kinds.keys()
    assert not re.search(r"https?:|//\w|url\(|@import|src=", text)
    ids = [found["id"] for _, found in tags.seen if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["href"] for tag, found in tags.seen if tag == "a"} == {"#s1", "#s2"}
    languages = Counter(found["lang"] for tag, found in tags.seen if "lang" in found and tag != "html")
    assert languages["en"] == languages["zh-CN"] > 10
    for said in ("A question", "一个问题", "Seen.", "看到了。", "x words", "横轴", "A map", "热图", "第一"):
        assert said in text


def test_everything_is_escaped(report: Report):
    text = page(report)
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert "<c>" not in text and "<b>" not in text
    assert "alert('x')" in Tags(text).texts["p"]


def test_each_section_says_what_made_it(report: Report):
    text = page(report)
    assert (
        text.count("sightline compare a b &lt;c&gt;")
        == text.count(MADE.date)
        == text.count("a machine &amp; more")
        == 2
    )


def test_columns_of_numbers_stand_to_the_right_and_long_texts_take_several_lines(report: Report):
    classes = [found.get("class") for tag, found in Tags(page(report)).seen if tag in ("th", "td")]
    assert classes == [None, "number", None, "number", "wrap", "number"]


def texts_of(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter() if each.tag.endswith("text")]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("part", [CHART, HEAT], ids=["chart", "map"])
def test_a_picture_file_is_xml_in_one_language(part: LineChart | HeatMap, language: str):
    svg = picture_file(part, Looks(), language)
    root = ET.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and "<script" not in svg
    own, other = ("en", "zh") if language == "en" else ("zh", "en")
    assert root.get("aria-label") == getattr(part.title, own)
    if isinstance(part, LineChart):
        assert getattr(part.x, own) in texts_of(svg) and getattr(part.x, other) not in texts_of(svg)


def test_every_point_that_can_be_shown_tells_its_value_and_others_are_left_out():
    svg = line_chart(CHART, Looks(), ["en"])
    titles = [each.text for each in ET.fromstring(svg).iter("title")]
    banded = ["first: 1, 0.5 (0.4 … 0.6)", "first: 4, 0.25 (0.2 … 0.3)"]
    assert titles == [*banded, "same: 1, 0.1", "same: 4, 0.0001", f"{EVIL}: 1, 0.3 (0.2 … 0.4)"]
    assert "nan" not in svg
    paths = [each.get("d") for each in ET.fromstring(svg).iter("path")]
    assert paths[0] is not None and paths[0].count("M") == 2 and "L" not in paths[0]


def test_everything_drawn_lies_inside_the_picture():
    for svg in (line_chart(CHART, Looks(), ["en", "zh"]), heat_map(HEAT, ["en", "zh"])):
        root = ET.fromstring(svg)
        width, height = map(float, (root.get("viewBox") or "").split()[2:])
        most = dict.fromkeys(("x", "x1", "x2", "cx"), width) | dict.fromkeys(("y", "y1", "y2", "cy"), height)
        for each in root.iter():
            for name, end in most.items():
                assert 0 <= float(each.get(name) or 0) <= end, (each.tag, name)


def test_series_differ_in_mark_and_colour_and_keep_their_look_from_chart_to_chart():
    names = [Said(str(n), str(n)) for n in range(9)]
    looks = Looks()
    first = looks.of(names[:3])
    other = looks.of([names[5], names[2], names[6]])
    assert other[names[2]] == first[names[2]]
    assert len({look.number for look in other.values()}) == 3
    again = looks.of(names)
    assert len({(look.colour, look.dash, look.mark(0, 0)) for look in again.values()}) == 9
    assert len({look.colour for look in looks.of(names[: len(COLOURS)]).values()}) == len(COLOURS)


def test_a_map_shows_each_number_by_how_dark_it_is():
    rects = list(ET.fromstring(heat_map(HEAT, ["en"])).iter("rect"))
    assert [float(each.get("fill-opacity") or -1) for each in rects] == [0.0, 0.25, 1.0, 0.5, 0.0, 1.0]
    assert [each.text for each in ET.fromstring(heat_map(HEAT, ["en"])).iter("title")][2] == "a → z: 1.000"


def test_markdown_has_a_file_for_each_language_and_its_pictures_beside(report: Report, tmp_path: Path):
    write_markdown(report, tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == [
        "pictures/some-01.svg",
        "pictures/some-01.zh.svg",
        "pictures/some-02.svg",
        "pictures/some-02.zh.svg",
        "some.md",
        "some.zh.md",
    ]
    en, zh = ((tmp_path / name).read_text(encoding="utf-8") for name in ("some.md", "some.zh.md"))
    assert "## A question" in en and "问题" not in en and "## 一个问题" in zh and "question" not in zh
    for text in (en, zh):
        for path in re.findall(r"\]\((.*?)\)", text):
            assert (tmp_path / path).is_file()
        assert "<script>" not in text.replace(r"\<", "")
        table = [line for line in text.splitlines() if line.startswith("|")]
        assert [len(re.findall(r"(?<!\\)\|", line)) for line in table] == [3] * 4


def test_markdown_in_one_language_has_no_word_of_the_other(report: Report):
    text, pictures = markdown(report, "en")
    assert not re.search(r"[\u4e00-\u9fff]", text + "".join(pictures.values()))


def test_markdown_shows_entities_and_backticks_as_they_are(report: Report):
    odd = replace(report.sections[0], made=replace(MADE, command="compare `a``b`"))
    text, _ = markdown(replace(report, lead=[Said("it &apos;s", "它")], sections=[odd]), "en")
    assert r"it \&apos;s" in text and "``` compare `a``b` ```" in text


def test_the_page_is_written_whole_or_not_at_all(report: Report, tmp_path: Path):
    write_page(report, tmp_path / "deep" / "some.html")
    assert (tmp_path / "deep" / "some.html").read_text(encoding="utf-8") == page(report)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write_page(report, tmp_path / "file" / "some.html")


def test_a_section_is_made_once_and_kept_until_what_it_is_made_of_changes(report: Report, tmp_path: Path):
    section, times = report.sections[0].section, []

    def make() -> Section:
        times.append(1)
        return section

    first = Kept(tmp_path, "a command").section("one", ["weights", 1.5], make)
    again = Kept(tmp_path, "another command").section("one", ["weights", 1.5], make)
    assert len(times) == 1 and again.made == first.made and again.made.command == "a command"
    assert page(Report("a", Said("", ""), [], [again])) == page(Report("a", Said("", ""), [], [first]))
    other = Kept(tmp_path, "another command").section("one", ["weights", 2.5], make)
    assert len(times) == 2 and other.made.command == "another command"
    (tmp_path / "one.json").write_text("{")
    Kept(tmp_path, "").section("one", ["weights", 2.5], make)
    assert len(times) == 3


def test_what_made_a_section_names_the_processor():
    made = Made.now("sightline lab x")
    assert made.command == "sightline lab x" and "torch" in made.machine
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d [+-]\d{4}", made.date)
