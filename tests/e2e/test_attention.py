"""The attention view: numbers on screen are the model's, pixels are the numbers' colours, keys do what the mouse does."""

import base64
import math
import os
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.e2e.conftest import LANGS, TINY, Explorer, Open, Watched, ask, parameter, until

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

LAW = "The Law will never be perfect , but its application should be just ."
HEADS = ["#0010c4", "#8d5e14", "#225b4d", "#fa007d", "#9966ff", "#919c16", "#409ea8", "#6d1710"]
DARK = ["#bfc5ff", "#9b763b", "#1fffda", "#ff1f8f"]
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
    faint, strong = svg.findall(f"{space}g[@opacity]/{space}g"), svg.findall(f"{space}g[@aria-label]")
    assert sum(len(group.findall(f"{space}path")) for group in faint) == int((weights[2:4] >= 17 / 4096).sum())
    assert [len(group) for group in strong] == [int((row >= 1 / 255).sum()) for row in weights[2:4, its]]
    dashes = [{path.get("stroke-dasharray") for path in group} - {None} for group in strong]
    assert all(dashes) and not dashes[0] & dashes[1], "heads are told apart without colours"


def tab_to(page: Page, selector: str) -> None:
    """Tab until the focus is there, as one who has no mouse does."""
    for _ in range(80):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {selector}")


SAID = {
    "en": ("Translated", "Encoder, layer 3 of 3", "head {head} {value}", "Heads on: 3, 4", "Nothing pinned"),
    "zh": ("译文", "编码器，第 3 层，共 3 层", "头 {head} 为 {value}", "显示的头：3，4", "已取消固定"),
}


@pytest.mark.parametrize("lang", LANGS)
def test_the_same_by_keyboard_alone_with_the_live_region_speaking(
    lang: str, open_page: Open, explorer: Explorer, tmp_path: Path
):
    translated, layer, head_said, heads_on, unpinned = SAID[lang]
    page = open_page("", lang=lang)
    live = page.locator('[aria-live="polite"]')
    page.keyboard.press("/")
    page.keyboard.press("Control+a")
    page.keyboard.type(LAW)
    page.keyboard.press("Enter")
    expect(live).to_contain_text(translated, timeout=30_000)
    page.keyboard.press("2")
    page.keyboard.press("e")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(live).to_contain_text(layer)
    run = parameter(page, "run")
    assert run
    tokens = explorer.get(f"/runs/{run}")["src"]["tokens"]
    its = next(i for i, token in enumerate(tokens) if token["text"] == "its")
    law = next(i for i, token in enumerate(tokens) if token["word"] == 1)
    weights = explorer.tensors(run, "encoder.2.self_attn.weights")["encoder.2.self_attn.weights"]
    for _ in range(its + 1):
        page.keyboard.press("ArrowRight")
    assert parameter(page, "q") == str(its)
    expect(live).to_contain_text("its")
    expect(live).to_contain_text(f"{float(weights[0, its].max()):.2f}")
    for _ in range(law + 1):
        page.keyboard.press("Shift+ArrowRight")
    assert parameter(page, "k") == str(law)
    for head in range(4):
        expect(live).to_contain_text(head_said.format(head=head + 1, value=f"{float(weights[head, its, law]):.3f}"))
    assert bars(page) == [pytest.approx(float(w), abs=5.1e-4) for w in weights[:, its, law]]
    assert "1.00" in page.locator(".inspector").inner_text()
    page.keyboard.press("Alt+3")
    page.keyboard.press("Shift+4")
    expect(live).to_have_text(heads_on)
    assert page.locator('.heads .chip[aria-pressed="true"]').count() == 2

    tab_to(page, "[role=gridcell]")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    cell = page.evaluate("document.activeElement.textContent")
    for head in (2, 3):
        assert f"{float(weights[head, its + 1, -1]):.3f}" in cell
    page.keyboard.press("Enter")
    assert (parameter(page, "q"), parameter(page, "k")) == (str(its + 1), str(len(tokens) - 1))
    tab_to(page, "[aria-haspopup=menu]")
    page.keyboard.press("Enter")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    path = tmp_path / "attention.svg"
    download.value.save_as(path)
    assert ">its</text>" in path.read_text(encoding="utf-8")
    page.keyboard.press("Escape")
    assert parameter(page, "q") is None
    expect(live).to_have_text(unpinned)


MACHADO = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
"""What is seen of linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1)."""


def linear(color: Sequence[int]) -> list[float]:
    return [c / 255 / 12.92 if c <= 0.04045 * 255 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in color]


def lab(rgb: Sequence[float]) -> tuple[float, float, float]:
    """CIELAB of linear RGB, clipped to what a screen shows."""
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.072175), (0.0193339, 0.119192, 0.9503041))
    shown = [max(0.0, min(1.0, c)) for c in rgb]
    xyz = [sum(a * b for a, b in zip(row, shown, strict=True)) for row in rows]
    x, y, z = (
        v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (xyz[0] / 0.95047, xyz[1], xyz[2] / 1.08883)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    """CIEDE2000 (Sharma, Wu and Dalal, 2005) of two linear colours."""
    (l1, a1, b1), (l2, a2, b2) = lab(one), lab(other)
    c7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - math.sqrt(c7 / (c7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1, h2 = math.degrees(math.atan2(b1, a1)) % 360, math.degrees(math.atan2(b2, a2)) % 360
    turn = (h2 - h1 + 180) % 360 - 180
    h = (h1 + turn / 2) % 360
    big_h = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn) / 2)
    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2

    def cos(angle: float) -> float:
        return math.cos(math.radians(angle))

    t = 1 - 0.17 * cos(h - 30) + 0.24 * cos(2 * h) + 0.32 * cos(3 * h + 6) - 0.2 * cos(4 * h - 63)
    sl = 1 + 0.015 * (light - 50) ** 2 / math.sqrt(20 + (light - 50) ** 2)
    sc, sh = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    rt = (
        -2
        * math.sqrt(chroma**7 / (chroma**7 + 25**7))
        * math.sin(math.radians(60) * math.exp(-(((h - 275) / 25) ** 2)))
    )
    x, y, z = (l2 - l1) / sl, (c2 - c1) / sc, big_h / sh
    return math.sqrt(x * x + y * y + z * z + rt * y * z)


def test_the_measure_of_colours_gives_the_published_value():
    # The first pair of Sharma's table is out of what a screen shows; these are white and black, and a grey beside itself.
    assert difference([1, 1, 1], [0, 0, 0]) == pytest.approx(100, abs=0.1)
    assert difference([0.2, 0.2, 0.2], [0.2, 0.2, 0.2]) == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", MACHADO)
def test_two_heads_are_told_apart_by_whoever_sees_fewer_colours(
    sight: str, theme: str, open_page: Open, chromium: Browser, explorer: Explorer, tmp_path: Path
):
    page = open_page("#/v1/attention?l=2", theme=theme)
    run = ask(page, LAW)
    weights = explorer.tensors(run, "encoder.2.self_attn.weights")["encoder.2.self_attn.weights"]
    # Where two heads look hardest at something: what is faint is faint to everybody.
    most = weights.amax(2)
    heads = max(combinations(range(4), 2), key=lambda pair: float(most[list(pair)].amin(0).max()))
    query = int(most[list(heads)].amin(0).argmax())
    keys = [int(weights[head, query].argmax()) for head in heads]
    page.keyboard.press(f"Alt+{heads[0] + 1}")
    page.keyboard.press(f"Shift+{heads[1] + 1}")
    click_word(page, weights.shape[1], query, "query")
    dashes = [chip.get_attribute("stroke-dasharray") for chip in page.locator('.chip[aria-pressed="true"] line').all()]
    assert len(dashes) == 2 and dashes[0] != dashes[1]
    # The squares beside the keys that the heads look at most: they are as strong as the weight.
    box = page.locator('canvas[data-kind="lines"]').bounding_box()
    assert box
    row = (box["height"] - TOP - BOTTOM) / weights.shape[1]
    squares = [squares_at(page, index, TOP + (key + 0.5) * row) for index, key in enumerate(keys)]
    page.context.new_cdp_session(page).send("Emulation.setEmulatedVisionDeficiency", {"type": sight})
    picture = page.locator('canvas[data-kind="lines"]').screenshot(path=tmp_path / f"{sight}-{theme}.png")
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"attention-{sight}-{theme}.png")
    plain = chromium.new_page()
    seen = plain.evaluate(PIXELS, [base64.b64encode(picture).decode(), squares])
    plain.close()
    ground = {"light": (255, 255, 255), "dark": (15, 18, 22)}[theme]
    palette = {"light": HEADS, "dark": DARK}[theme]
    painted = []
    for head, key in zip(heads, keys, strict=True):
        color = [int(palette[head][i : i + 2], 16) for i in (1, 3, 5)]
        alpha = 0.06 + 0.94 * float(weights[head, query, key])
        painted.append(linear([round(g + (c - g) * alpha) for g, c in zip(ground, color, strict=True)]))
    expected = difference(
        *([sum(a * b for a, b in zip(m, one, strict=True)) for m in MACHADO[sight]] for one in painted)
    )
    assert expected >= 10, "the squares that were chosen cannot be told apart by colour"
    assert difference(*map(linear, seen)) >= 0.8 * expected


PIXELS = """async ([data, places]) => {
  const image = await createImageBitmap(await (await fetch('data:image/png;base64,' + data)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  return places.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
}"""


def squares_at(page: Page, index: int, y: float) -> tuple[float, float]:
    """The middle of a head's square beside a key: of two heads the squares are 14 pixels wide and end 8 before the labels."""
    page.locator('[role=gridcell][tabindex="0"]').focus()
    right = page.evaluate(
        """() => {
        const ring = document.querySelector('.ring').getBoundingClientRect();
        return ring.left - document.querySelector('canvas[data-kind="lines"]').getBoundingClientRect().left + 8;
    }"""
    )
    page.evaluate("document.activeElement.blur()")
    return right - 8 - (2 - index) * 16 + 7, y


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
    over = [masked[i : i + 4] for i in range(0, len(masked), 4)]
    seen = {tuple(round(g + (c - g) * a / 255) for c, g in zip((*color,), ground, strict=True)) for *color, a in over}
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
    expect(page.locator("tbody tr")).to_have_count(len(tokens))
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


LONG = ("a dog runs . the cat sat , " * 30)[:511]


def test_a_sentence_of_512_tokens_opens_as_a_matrix_stays_light_and_can_be_zoomed(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/attention")
    run = ask(page, LONG, model=TINY)
    assert len(explorer.get(f"/runs/{run}")["src"]["tokens"]) == 512
    expect(page.get_by_text("opens as a matrix")).to_be_visible()
    assert page.locator('canvas[data-kind="matrix"]').count() == 1
    assert page.evaluate("document.querySelectorAll('*').length") < 3000
    shown = page.locator(".zoom")
    expect(shown).to_contain_text("1.0× · rows 1–512, columns 1–512")

    canvas = page.locator('canvas[data-kind="matrix"]')
    canvas.hover(position={"x": 200, "y": 250})
    for _ in range(6):
        page.mouse.wheel(0, -240)
    expect(shown).not_to_contain_text("1.0×")
    page.wait_for_timeout(400)
    near = parameter(page, "z")
    assert near
    scale, row, column = map(float, near.split(","))
    assert scale > 8
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + 200, box["y"] + 250)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 210, steps=4)
    page.mouse.up()
    page.wait_for_timeout(400)
    dragged = parameter(page, "z")
    assert dragged
    assert [a > b for a, b in zip(map(float, dragged.split(",")), (scale, row, column), strict=True)] == [
        False,
        True,
        True,
    ]
    assert parameter(page, "q") is None, "a drag is no click"
    page.reload()
    expect(shown).to_contain_text(f"{scale:.1f}×")
    assert parameter(page, "z") == dragged

    page.keyboard.press("-")
    expect(shown).to_contain_text(f"{scale / 1.5:.1f}×")
    page.keyboard.press("0")
    expect(shown).to_contain_text("1.0×")
    page.get_by_role("button", name="Zoom in").click()
    expect(shown).to_contain_text("1.5×")
    canvas.dblclick(position={"x": 200, "y": 250})
    expect(shown).to_contain_text("1.0×")
    for _ in range(6):
        page.keyboard.press("+")
    for _ in range(40):  # the row that is looked at comes into sight
        page.keyboard.press("ArrowRight")
    query = int(parameter(page, "q") or -1)
    first, last = map(int, re.findall(r"rows (\d+)–(\d+)", shown.inner_text())[0])
    assert first <= query + 1 <= last
    page.get_by_role("radio", name="Lines").click()
    expect(page.locator(".said")).to_contain_text("of")
    assert page.evaluate("document.querySelectorAll('*').length") < 3000


def test_the_strip_is_one_stop_for_tab_and_arrows_move_in_it(open_page: Open):
    page = open_page("#/v1/attention")
    stops = page.locator('.thumb[tabindex="0"]')
    assert stops.count() == 1
    stops.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "Encoder, layer 2, head 3"
    assert stops.count() == 1
    assert parameter(page, "l") is None, "arrows in the strip do not change the layer"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "Cross, layer 3, head 4"
    page.keyboard.press("Enter")
    assert [parameter(page, name) for name in ("stack", "l", "h")] == ["decoder.cross_attn", "2", "3"]


def test_keys_work_beside_a_list_of_choices_but_for_its_own(open_page: Open):
    page = open_page("#/v1/attention")
    beam = page.get_by_label("Beam").last
    beam.focus()
    page.keyboard.press("m")
    assert parameter(page, "mode") == "matrix"
    page.keyboard.press("ArrowDown")
    assert beam.input_value() == "6"
    assert parameter(page, "l") is None
    page.keyboard.press("2")
    assert beam.input_value() == "2"
    page.keyboard.press("3")
    assert page.evaluate("location.hash").startswith("#/v1/alignment")


def test_views_are_numbered_as_they_stand_and_by_hand_opens_at_words(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/attention?l=1")
    run = ask(page, LAW)
    assert page.locator(".nav .digit").all_inner_texts() == ["1", "2", "3", "4", "5"]
    tokens = explorer.get(f"/runs/{run}")["src"]["tokens"]
    weights = explorer.tensors(run, "encoder.1.self_attn.weights")["encoder.1.self_attn.weights"]
    words = [i for i, token in enumerate(tokens) if not token["special"]]
    page.keyboard.press("h")
    assert page.evaluate("location.hash").startswith("#/v1/hand?")
    best = max(words, key=lambda i: float(weights[0, words[0], i]))
    assert [parameter(page, name) for name in ("l", "h", "q", "k")] == ["1", "0", str(words[0]), str(best)]
    page.wait_for_selector(".badge")
    page.go_back()
    page.wait_for_selector(".pictures canvas")
    page.keyboard.press("Alt+4")
    page.keyboard.press("ArrowLeft")  # the last token
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("h")
    last = str(len(tokens) - 1)
    assert [parameter(page, name) for name in ("h", "q", "k")] == ["3", last, last]
    page.wait_for_selector(".badge")
    page.keyboard.press("5")
    assert page.evaluate("location.hash").startswith("#/v1/decoding")
    page.wait_for_selector(".check")


def test_pictures_are_saved_as_large_as_asked(open_page: Open, tmp_path: Path):
    page = open_page("#/v1/attention")
    sizes = []
    for scale in (1, 2, 3, 4):
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=f"PNG {scale}×").click()
        path = tmp_path / f"{scale}.png"
        download.value.save_as(path)
        sizes.append(struct.unpack(">II", path.read_bytes()[16:24]))
    width, height = sizes[0]
    assert width >= 640
    for scale, (wide, high) in enumerate(sizes, 1):
        assert (wide, high) == (pytest.approx(scale * width, abs=scale), pytest.approx(scale * height, abs=scale))
