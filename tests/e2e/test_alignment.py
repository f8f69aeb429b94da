"""The alignment view: greys are weights, links and error rates the product's own; a reference is typed, loaded or marked."""

import json
import re
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.e2e.conftest import LANGS, TINY, Explorer, Open, ask, parameter, until

from sightline.metrics.alignment import Links, alignment_error_rate, pharaoh, read_pharaoh, symmetrise

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

SENTENCE = "Yesterday I got acquainted with a new friend at school."
GOLD = "0-0 1-1 5p5 6-6"
PLACE = re.compile(r"(\d+)\.(\d+|mean)")


def exported(explorer: Explorer, run: str, layer: int | None = None, head: int | None = None) -> str:
    place = "" if layer is None else f"&layer={layer}" + ("" if head is None else f"&head={head}")
    with urllib.request.urlopen(f"{explorer.base}api/v1/export/{run}?form=pharaoh{place}") as reply:
        return reply.read().decode().strip()


def aligners(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The heads of the attention to the source, the one most like an alignment first."""
    heads = [each for each in run["heads"] if each["stack"] == "decoder.cross_attn"]
    return sorted(heads, key=lambda each: -each["align"]["sharp"] * each["align"]["mono"])


def ready(page: Page) -> None:
    page.wait_for_selector('.picture[aria-busy="false"]')


def table(page: Page) -> list[tuple[str, list[float]]]:
    """Of every row of the table of heads its place and its numbers."""
    rows = page.locator("tr[data-place]").all()
    return [
        (str(row.get_attribute("data-place")), [float(text) for text in row.locator("td.n").all_inner_texts()])
        for row in rows
    ]


def greys(page: Page, rows: int, columns: int) -> list[list[list[int]]]:
    """The colour of every cell of the picture, beside its number and its outline."""
    return page.evaluate(
        """([rows, columns]) => {
            const canvas = document.querySelector('canvas[data-kind="alignment"]');
            const [cell, left, top] = ['cell', 'left', 'top'].map((name) => Number(canvas.dataset[name]));
            const scale = canvas.width / canvas.clientWidth;
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            const at = (x, y) => 4 * (Math.round(y * scale) * canvas.width + Math.round(x * scale));
            const color = (r, c) => [...data.subarray(at(left + (c + 0.5) * cell, top + (r + 0.8) * cell)).subarray(0, 3)];
            return Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, c) => color(r, c)));
        }""",
        [rows, columns],
    )


def reference(page: Page) -> Any:
    return page.locator("textarea")


@pytest.mark.parametrize("lang", LANGS)
def test_a_translation_is_aligned_scored_exported_and_read_back(
    lang: str, open_page: Open, explorer: Explorer, tmp_path: Path
):
    page = open_page("#/v1/alignment", lang=lang)
    id = ask(page, SENTENCE)
    ready(page)
    run = explorer.get(f"/runs/{id}")
    src, labels = run["src"], run["labels"]

    # The best head is named, with its criterion, and its map is drawn: white is 1, black is 0.
    best = aligners(run)[0]
    place = f"{best['layer']}.{best['head']}"
    assert page.locator(".which").get_attribute("data-place") == place
    expect(page.locator(".badge")).to_contain_text({"en": "sharpness × monotonicity", "zh": "锐度 × 单调性"}[lang])
    name = f"decoder.{best['layer']}.cross_attn.weights"
    weights = explorer.tensors(id, name)[name][best["head"]]
    assert weights.shape == (len(labels), len(src["tokens"]))
    for row, colours in enumerate(greys(page, *weights.shape)):
        for column, colour in enumerate(colours):
            assert colour == [pytest.approx(255 * float(weights[row, column]), abs=1.5)] * 3, (row, column)
    shown = [found for found, _ in table(page) if "mean" not in found]
    assert shown == [f"{each['layer']}.{each['head']}" for each in aligners(run)]
    assert len(table(page)) == len(shown) + run["model"]["decoder_layers"]

    # Rows are the tokens that are predicted, and the axis says so; the grid says every number.
    expect(page.locator(".axis").first).to_contain_text(
        {"en": "one after the decoder’s input", "zh": "比解码器输入晚一个"}[lang]
    )
    page.locator('[role="grid"] [tabindex="0"]').focus()
    page.keyboard.press("ArrowRight")
    focused = page.locator(":focus").inner_text()
    assert (
        labels[0]["text"] in focused
        and src["tokens"][1]["text"] in focused
        and f"{float(weights[0, 1]):.3f}" in focused
    )

    # Words: as many columns as words, and rows still sum to one.
    page.keyboard.press("w")
    page.keyboard.press("s")
    assert page.locator('[role="grid"]').get_attribute("aria-colcount") == str(len(src["words"]))
    assert page.locator('[role="grid"]').get_attribute("aria-rowcount") == str(len(run["tgt"]["words"]))
    assert len(src["words"]) < sum(token["word"] >= 0 for token in src["tokens"])
    page.keyboard.press("m")
    sums = page.locator("[data-sum]").all_inner_texts()
    assert len(sums) == len(run["tgt"]["words"]) and set(sums) == {"1.00"}
    page.keyboard.press("m")

    # A reference: the error rate of every head is the product's own, and the table goes by it.
    gold = read_pharaoh(GOLD)
    reference(page).fill(GOLD)
    found: dict[str, float] = {}
    for head in aligners(run):
        links = read_pharaoh(exported(explorer, id, head["layer"], head["head"])).sure
        found[f"{head['layer']}.{head['head']}"] = alignment_error_rate([links], [gold]).error_rate
    rows = table(page)
    for where, numbers in rows:
        if "mean" not in where:
            assert numbers[0] == pytest.approx(found[where], abs=0.051), where
    assert [numbers[0] for _, numbers in rows] == sorted(numbers[0] for _, numbers in rows)
    first = next(where for where, _ in rows if "mean" not in where)
    assert page.locator(".which").get_attribute("data-place") == first
    expect(page.locator(".aer").first).to_contain_text(f"{found[first]:.1f}%")
    expect(page.locator(".badge")).to_contain_text({"en": "alignment error rate", "zh": "对齐错误率"}[lang])

    # What is exported is what the server says of that head, and against itself it has no error.
    with page.expect_download() as download:
        page.get_by_role("button", name={"en": "Save this alignment", "zh": "保存当前对齐"}[lang]).click()
    path = tmp_path / "own.txt"
    download.value.save_as(path)
    layer, head = first.split(".")
    assert path.read_text().strip() == exported(explorer, id, int(layer), int(head))
    page.locator('input[type="file"]').set_input_files(path)
    expect(reference(page)).to_have_value(path.read_text().strip())
    expect(page.locator(".aer").first).to_contain_text(
        {"en": "Alignment error rate 0.0%", "zh": "对齐错误率 0.0%"}[lang]
    )
    assert table(page)[0][1] == [0.0, 100.0, 100.0]


@pytest.mark.parametrize("lang", LANGS)
def test_chinese_stands_upright_over_its_column_and_nothing_is_cut(
    lang: str, open_page: Open, explorer: Explorer, tmp_path: Path
):
    page = open_page("#/v1/alignment", lang=lang)
    page.get_by_role("combobox").nth(1).select_option("en")
    id = ask(page, "我昨天在学校认识了一位新朋友。")
    ready(page)
    run = explorer.get(f"/runs/{id}")
    assert run["src"]["lang"] == "zh" and parameter(page, "run") == id
    page.get_by_role("button", name={"en": "Export", "zh": "导出"}[lang]).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name=re.compile("^SVG")).click()
    path = tmp_path / "alignment.svg"
    download.value.save_as(path)
    root = ET.parse(path).getroot()
    said = {text.text: text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    for token in run["src"]["tokens"]:
        if token["word"] >= 0:
            assert said[token["text"]].get("writing-mode") == "vertical-rl", token
            assert "upright" in str(said[token["text"]].get("style"))
            assert float(str(said[token["text"]].get("y"))) > 0
    for token in run["labels"]:
        if token["word"] >= 0:
            assert said[token["text"]].get("writing-mode") is None and said[token["text"]].get("text-anchor") == "end"
    # The page's own picture has room for all of it.
    assert page.evaluate(
        "document.querySelector('.frame').scrollWidth <= document.querySelector('.frame').clientWidth + 1"
    )


@pytest.mark.parametrize("lang", LANGS)
def test_a_reference_that_is_none_is_refused_with_what_is_wrong(lang: str, open_page: Open):
    page = open_page("#/v1/alignment", lang=lang)
    ready(page)
    for text, part in (("0-0 1:1", "1:1"), ("0-99", "99"), ("77-0", "77"), ("<img onerror=window.P=1>", "<img")):
        reference(page).fill(text)
        expect(page.locator(".inspector [role=alert]")).to_contain_text(part)
        assert reference(page).get_attribute("aria-invalid") == "true"
        expect(page.locator("[data-criterion]")).to_have_attribute("data-criterion", "quality")
    reference(page).fill("0-0")
    page.locator(".first select").select_option("1")
    expect(page.locator(".inspector [role=alert]")).to_contain_text("0-0")
    reference(page).fill("1-1")
    expect(page.locator("[data-criterion]")).to_have_attribute("data-criterion", "aer")
    assert page.evaluate("window.P") is None


def test_a_file_of_many_lines_gives_the_line_that_is_asked_for(open_page: Open, tmp_path: Path):
    page = open_page("#/v1/alignment")
    ready(page)
    path = tmp_path / "gold.txt"
    path.write_text("0-0\n1-1 2p2\n\n")
    page.locator('input[type="file"]').set_input_files(path)
    expect(reference(page)).to_have_value("0-0")
    page.locator(".lines input").fill("2")
    expect(reference(page)).to_have_value("1-1 2p2")
    assert parameter(page, "ref") == "1-1 2p2"


def test_a_pair_is_marked_in_the_picture_and_a_link_brings_the_reference_along(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/alignment?w=1")
    ready(page)
    run = explorer.get(f"/runs/{parameter(page, 'run')}")
    canvas = page.locator('canvas[data-kind="alignment"]')
    cell, left, top = (float(str(canvas.get_attribute(f"data-{name}"))) for name in ("cell", "left", "top"))
    word = next(i for i, token in enumerate(run["src"]["tokens"]) if token["word"] == 0)
    canvas.click(position={"x": left + (word + 0.5) * cell, "y": top + 0.5 * cell})
    assert (parameter(page, "q"), parameter(page, "k")) == ("0", str(word))
    page.get_by_role("radio", name="Sure", exact=True).click()
    expect(reference(page)).to_have_value("0-0")
    page.get_by_role("radio", name="Possible", exact=True).click()
    expect(reference(page)).to_have_value("0p0")
    page.reload()
    ready(page)
    expect(reference(page)).to_have_value("0p0")
    assert parameter(page, "w") == "1"
    ask(page, "I like tea.")
    expect(reference(page)).to_have_value("")
    assert parameter(page, "ref") is None
    page.keyboard.press("Escape")


def test_the_other_direction_is_laid_over_this_one_only_when_it_is_asked_for(
    open_page: Open, explorer: Explorer, tmp_path: Path
):
    page = open_page("#/v1/alignment")
    posted: list[dict[str, Any]] = []
    page.on(
        "request",
        lambda request: posted.append(json.loads(request.post_data or "")) if request.method == "POST" else None,
    )
    id = ask(page, "I like tea.")
    ready(page)
    assert len(posted) == 1
    run = explorer.get(f"/runs/{id}")
    page.get_by_role("button", name="Both directions").click()
    union = page.get_by_role("radio", name="Union")
    expect(union).to_be_visible()
    assert len(posted) == 2 and posted[1]["src"] == run["tgt"]["text"] and posted[1]["tgt"] == run["src"]["text"]
    request = urllib.request.Request(
        f"{explorer.base}api/v1/runs", json.dumps(posted[1]).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        other = json.load(reply)
    assert other["src"]["words"] == run["tgt"]["words"] and other["tgt"]["words"] == run["src"]["words"]
    forth = read_pharaoh(exported(explorer, id)).sure
    back: Links = frozenset((j, i) for i, j in read_pharaoh(exported(explorer, other["id"])).sure)
    for name, how in (("Union", "union"), ("Intersection", "intersection"), ("Grow-diag", "grow-diag")):
        page.get_by_role("radio", name=name).click()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save this alignment").click()
        path = tmp_path / how
        download.value.save_as(path)
        assert path.read_text().strip() == pharaoh(symmetrise(forth, back, how))  # pyright: ignore[reportArgumentType]
    assert parameter(page, "run") == id and parameter(page, "rev") == "1"
    ask(page, "I like coffee.")
    ready(page)
    expect(page.get_by_role("button", name="Both directions")).to_be_visible()
    assert len(posted) == 3 and parameter(page, "rev") is None


def test_keys_choose_head_layer_and_reading_and_the_address_keeps_them(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/alignment")
    ready(page)
    page.keyboard.press("Shift+2")
    assert parameter(page, "h") == "1"
    layer = int(parameter(page, "l") or 0)
    page.keyboard.press("ArrowUp" if layer else "ArrowDown")
    assert parameter(page, "l") == str(layer - 1 if layer else 1)
    page.keyboard.press("a")
    assert parameter(page, "h") == "mean"
    page.keyboard.press("i")
    page.keyboard.press("ArrowRight")
    run = explorer.get(f"/runs/{parameter(page, 'run')}")
    assert (parameter(page, "r"), parameter(page, "q")) == ("in", "0")
    expect(page.locator(".inspector h3").first).to_contain_text(run["tgt"]["tokens"][0]["piece"])
    place = page.locator(".which").get_attribute("data-place")
    page.reload()
    ready(page)
    assert page.locator(".which").get_attribute("data-place") == place and PLACE.fullmatch(str(place))
    page.keyboard.press("b")
    assert parameter(page, "h") is None
    page.keyboard.press("Escape")
    assert parameter(page, "q") is None


def test_a_long_sentence_scrolls_and_its_last_word_is_reached_by_keys(open_page: Open):
    page = open_page("#/v1/alignment", size=(1280, 800))
    ask(page, " ".join(["The students are studying English at school."] * 10))
    ready(page)
    page.locator('[role="grid"] [tabindex="0"]').focus()
    page.keyboard.press("End")
    until(page, "document.querySelector('.frame').scrollLeft > 300")
    column = page.locator(":focus").get_attribute("aria-colindex")
    assert column == page.locator('[role="grid"]').get_attribute("aria-colcount")
    frame, ring = page.locator(".frame").bounding_box(), page.locator(".ring").bounding_box()
    assert frame and ring and frame["x"] <= ring["x"] and ring["x"] + ring["width"] <= frame["x"] + frame["width"] + 2
    assert page.locator("main *").count() < 1500
    page.keyboard.press("-")
    assert int(parameter(page, "z") or 0) < 18


def test_a_model_of_one_direction_offers_no_other_and_every_head_is_there(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/alignment")
    id = ask(page, "a dog runs .", model=TINY)
    ready(page)
    run = explorer.get(f"/runs/{id}")
    [cross] = [each for each in run["model"]["stacks"] if each["name"] == "decoder.cross_attn"]
    assert len(table(page)) == sum(cross["heads"]) + cross["layers"]
    expect(page.get_by_role("button", name="Both directions")).to_have_count(0)


@pytest.mark.parametrize("lang", LANGS)
def test_a_saved_page_aligns_without_a_server(lang: str, open_page: Open, explorer: Explorer, tmp_path: Path):
    page = open_page("#/v1/alignment", lang=lang)
    id = ask(page, SENTENCE)
    ready(page)
    own = exported(explorer, id)
    page.get_by_role("button", name={"en": "Export", "zh": "导出"}[lang]).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="HTML").click()
    path = tmp_path / "page.html"
    download.value.save_as(path)
    saved = open_page("#/v1/alignment", lang=lang, base=path.as_uri(), offline=True)
    ready(saved)
    expect(saved.get_by_role("button", name={"en": "Both directions", "zh": "两个方向对照"}[lang])).to_have_count(0)
    reference(saved).fill(own)
    expect(saved.locator(".aer").first).to_contain_text("0.0%")
    saved.get_by_role("button", name={"en": "Export", "zh": "导出"}[lang]).click()
    with saved.expect_download() as download:
        saved.get_by_role("menuitem", name="Pharaoh").click()
    download.value.save_as(tmp_path / "links")
    assert (tmp_path / "links").read_text().strip() == own
