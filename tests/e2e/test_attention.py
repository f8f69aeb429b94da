"""The attention view: numbers on screen are the model's, pixels are the numbers' colours, keys do what the mouse does."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.e2e.conftest import LANGS, TINY, Explorer, Open, Watched, ask, parameter, until

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

LAW = "The Law will never be perfect , but its application should be just ."
HEADS = ["#0010c4", "#8d5e14", "#225b4d", "#fa007d", "#9966ff", "#919c16", "#409ea8", "#6d1710"]
TOP, BOTTOM = 62, 10
"""Of the picture of lines: what lies above and below its rows, in pixels."""


def row_at(page: Page, rows: int, index: int, side: str) -> tuple[float, float]:
    """A place on the label of row `index` in the picture of lines."""
    box = page.locator('canvas[data-kind="lines"]').bounding_box()
    assert box
    height = (box["height"] - TOP - BOTTOM) / rows
    return (6 if side == "query" else box["width"] - 6), TOP + (index + 0.5) * height


def click_word(page: Page, rows: int, index: int, side: str) -> None:
    x, y = row_at(page, rows, index, side)
    page.locator('canvas[data-kind="lines"]').click(position={"x": x, "y": y})


def bars(page: Page) -> list[float]:
    return [float(text) for text in page.locator(".bars .num").all_inner_texts()]


@pytest.mark.parametrize("lang", LANGS)
def test_who_its_looks_at(lang: str, open_page: Open, explorer: Explorer, tmp_path: Path):
    page = open_page("#/v1/attention", lang=lang)
    run = ask(page, LAW)
    page.keyboard.press("e")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert parameter(page, "l") == "2"
    tokens = explorer.get(f"/runs/{run}")["src"]["tokens"]
    its = next(i for i, token in enumerate(tokens) if token["text"] == "its")
    law = next(i for i, token in enumerate(tokens) if token["word"] == 1)
    weights = explorer.tensors(run, "encoder.2.self_attn.weights")["encoder.2.self_attn.weights"]

    click_word(page, len(tokens), its, "query")
    assert parameter(page, "q") == str(its)
    assert bars(page) == [pytest.approx(float(w), abs=5.1e-4) for w in weights[:, its].amax(1)]
    click_word(page, len(tokens), law, "key")
    assert parameter(page, "k") == str(law)
    assert bars(page) == [pytest.approx(float(w), abs=5.1e-4) for w in weights[:, its, law]]
    assert "1.00" in page.locator(".inspector").inner_text()
    expect(page.locator(".told")).to_contain_text("its")

    page.keyboard.press("Alt+3")
    page.keyboard.press("Shift+4")
    assert page.locator('.heads .chip[aria-pressed="true"]').count() == 2
    assert parameter(page, "h") == "2,3"

    page.get_by_role("button", name=re.compile("Export|导出")).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="SVG").click()
    path = tmp_path / "attention.svg"
    download.value.save_as(path)
    svg = ET.parse(path).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert "its" in [text.text for text in svg.iter(f"{space}text")]
    others = weights[2:4].clone()
    others[:, its] = 0
    expected = int((others >= 17 / 4096).sum()) + int((weights[2:4, its] >= 1 / 255).sum())
    assert len(svg.findall(f"{space}g/{space}path")) == expected


@pytest.mark.parametrize("lang", LANGS)
def test_the_same_by_keyboard_alone_with_the_live_region_speaking(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("", lang=lang)
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type(LAW)
    page.keyboard.press("Enter")
    live = page.locator('[aria-live="polite"]')
    expect(live).to_contain_text(re.compile("Translated|译文"), timeout=30_000)
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    expect(live).to_contain_text(re.compile("layer 2 of 3|第 2 层，共 3 层"))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(live).to_contain_text("La")
    grid = page.get_by_role("grid")
    grid.locator('[tabindex="0"]').focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    cell = page.evaluate("document.activeElement.textContent")
    run = parameter(page, "run")
    assert run
    weights = explorer.tensors(run, "encoder.1.self_attn.weights")["encoder.1.self_attn.weights"]
    for head in range(4):
        assert f"{float(weights[head, 3, -1]):.3f}" in cell
    page.keyboard.press("Enter")
    assert (parameter(page, "q"), parameter(page, "k")) == ("3", str(weights.shape[2] - 1))
    page.keyboard.press("Escape")
    assert parameter(page, "q") is None


def test_depths_and_heads_as_the_model_has_them_and_a_reload_restores_all(open_page: Open):
    page = open_page("#/v1/attention")
    ask(page, "a dog runs", model=TINY)
    groups = [section.locator(".thumb").count() for section in page.locator(".strip .stack").all()]
    assert groups == [24, 16, 16]
    page.keyboard.press("d")
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    assert parameter(page, "l") == "1"
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    assert parameter(page, "l") == "0"
    page.get_by_role("button", name="Cross, layer 2, head 5", exact=True).click()
    assert [parameter(page, name) for name in ("stack", "l", "h")] == ["decoder.cross_attn", "1", "4"]
    page.get_by_role("radio", name="Matrix").click()
    address = page.evaluate("location.hash")
    page.reload()
    page.wait_for_selector(".pictures canvas")
    assert page.evaluate("location.hash") == address
    assert page.locator('.thumb[aria-pressed="true"]').count() == 1
    assert page.locator('.heads .chip[aria-pressed="true"]').all_inner_texts()[0].startswith("5")


def pixel(page: Page, row: int, column: int) -> tuple[list[int], list[int]]:
    """Colours near a corner and along the middle of a matrix cell, found by the focus ring over it."""
    grid = page.get_by_role("grid")
    grid.locator('[tabindex="0"]').focus()
    for key, times in (("PageUp", 60), ("Home", 1), ("ArrowDown", row), ("ArrowRight", column)):
        for _ in range(times):
            page.keyboard.press(key)
    return page.evaluate(
        """() => {
        const canvas = document.querySelector('canvas[data-kind="matrix"]');
        const ring = document.querySelector('.ring').getBoundingClientRect(), box = canvas.getBoundingClientRect();
        const [x, y] = [ring.left - box.left, ring.top - box.top];
        const at = (dx, dy) => [...canvas.getContext('2d').getImageData(x + dx, y + dy, 1, 1).data];
        return [at(5, 5), Array.from({ length: 10 }, (_, i) => at(4 + i, 8)).flat()];
    }"""
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pixels_are_the_colours_of_the_numbers(theme: str, open_page: Open, explorer: Explorer, watched: Watched):
    watched.allowed = ("willReadFrequently",)
    page = open_page("#/v1/attention?stack=decoder.self_attn&h=1&mode=matrix", theme=theme)
    run = ask(page, "The cat sat.")
    name = "decoder.0.self_attn.weights"
    weights = explorer.tensors(run, name)[name][1]
    head = {"light": "#8d5e14", "dark": "#9b763b"}[theme]
    ground = {"light": (255, 255, 255), "dark": (15, 18, 22)}[theme]
    page.wait_for_selector('canvas[data-kind="matrix"]')
    for row, column in ((0, 0), (2, 0), (2, 1)):
        corner, _ = pixel(page, row, column)
        weight = round(float(weights[row, column]), 2)
        color = [int(head[i : i + 2], 16) for i in (1, 3, 5)]
        expected = [g + (c - g) * weight for g, c in zip(ground, color, strict=True)]
        assert corner[:3] == [pytest.approx(value, abs=3) for value in expected]
    _, masked = pixel(page, 0, 2)
    seen = {tuple(masked[i : i + 3]) for i in range(0, len(masked), 4)}
    assert len(seen) > 1, "a masked cell is hatched"
    for red, green, blue in seen:  # and has nothing of the head's colour, which is far from grey
        assert max(red, green, blue) - min(red, green, blue) <= 24


def test_words_hidden_specials_and_contributions_keep_rows_at_one(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/attention?mode=table&l=1")
    run = ask(page, LAW)
    manifest = explorer.get(f"/runs/{run}")

    def sums() -> set[str]:
        return set(page.locator("td.sum").all_inner_texts())

    tokens = manifest["src"]["tokens"]
    assert page.locator("tbody tr").count() == len(tokens)
    page.keyboard.press("w")
    specials = sum(token["special"] for token in tokens)
    assert page.locator("tbody tr").count() == len(manifest["src"]["words"]) + specials
    assert sums() == {"1.00"}
    page.get_by_label("Hide special").check()
    assert page.locator("tbody tr").count() == len(manifest["src"]["words"])
    assert sums() == {"1.00"}
    expect(page.get_by_text("scaled to sum to 1 again")).to_be_visible()
    page.get_by_role("radio", name="‖α·v·W_O‖").click()
    until(page, "document.querySelectorAll('td.sum').length > 0")
    assert sums() == {"1.00"}


def test_a_long_sentence_opens_as_a_matrix_and_stays_light(open_page: Open):
    page = open_page("#/v1/attention")
    ask(page, "a dog runs . the cat sat , " * 12, model=TINY)
    expect(page.get_by_text("opens as a matrix")).to_be_visible()
    assert page.locator('canvas[data-kind="matrix"]').count() == 1
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    page.get_by_role("radio", name="Lines").click()
    expect(page.locator(".said")).to_contain_text("of")
