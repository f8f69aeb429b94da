"""By hand: lessons whose numbers follow an edit, and the numbers of a real model, computed again in the browser."""

import csv
import math
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.e2e.conftest import LANGS, ROOT, TINY, Explorer, Open, ask, missing, parameter, until

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

LESSONS = ["x", "qk", "scale", "lookup", "head", "heads", "mask", "cross", "order", "block"]
WORDS = {"en": ("I", "love", "you"), "zh": ("我", "爱", "你")}
PREDICT = re.compile("Predict first|先猜再看")
ANSWER = re.compile("^(Answer|作答)$")


def cell(page: Page, name: str) -> Locator:
    return page.locator(f'[role="gridcell"][data-id="{name}"]')


def shown(page: Page, name: str) -> float:
    """The number in a cell as the screen reader says it: `s(love, you) = 3, was 2`."""
    label = cell(page, name).get_attribute("aria-label") or ""
    found = re.search(r"= (−?[\d.e−]+)", label)
    return float(found[1].replace("−", "-")) if found else math.nan


def everything(page: Page) -> dict[str, float]:
    names = page.locator('[role="gridcell"]').evaluate_all("cells => cells.map(cell => cell.dataset.id)")
    return {name: shown(page, name) for name in names}


def write(page: Page, name: str, value: str) -> None:
    cell(page, name).click()
    page.keyboard.press("Enter")
    page.keyboard.press("Control+a")
    page.keyboard.type(value)
    page.keyboard.press("Enter")


def arithmetic(page: Page) -> str:
    return " ".join(page.get_by_test_id("arithmetic").inner_text().split())


@pytest.mark.parametrize("lang", LANGS)
def test_a_lesson_recomputes_and_takes_back(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=head", lang=lang)
    _, love, you = WORDS[lang]
    cell(page, "D[2,3]").click()
    assert arithmetic(page) == f"= q({love})·k({you})/√4 = (0·0 + 3·2 + 0·0 + 0·2)/√4 = 6/2 = 3"
    before = everything(page)
    assert before["X[2,4]"] == 1

    write(page, "X[2,4]", "2")
    after = everything(page)
    changed = {name for name in before if before[name] != after[name]}
    assert {"X[2,4]", "Q[2,2]", "K[2,4]", "V[2,4]", "S[2,3]", "D[2,3]", "A[2,3]", "Z[2,1]"} <= changed
    assert not {name for name in changed if name.startswith("W_") or (name.startswith("X") and name != "X[2,4]")}
    assert (after["S[2,3]"], after["D[2,3]"]) == (8, 4)
    assert after["A[2,3]"] == pytest.approx(math.exp(4) / (math.exp(4) + 1 + math.exp(after["D[2,2]"])), abs=0.0051)
    tinted = set(page.locator("td.changed").evaluate_all("cells => cells.map(cell => cell.dataset.id)"))
    assert changed <= tinted  # a change too small for two digits is tinted too
    expect(cell(page, "S[2,3]")).to_have_attribute("data-ghost", "6")
    n, m = map(int, re.findall(r"\d+", page.get_by_test_id("counter").inner_text()))
    if lang == "zh":
        n, m = m, n
    assert n == len(tinted) - 1 and n <= m < len(before)
    for i in (1, 2, 3):
        assert sum(after[f"A[{i},{j}]"] for j in (1, 2, 3)) == pytest.approx(1, abs=0.016)

    page.keyboard.press("Control+z")
    assert everything(page) == before
    page.keyboard.press("Control+y")
    assert everything(page) == after


@pytest.mark.parametrize("lang", LANGS)
def test_the_mask_hides_and_lets_see(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=mask", lang=lang)
    hidden = [(i, j) for i in (1, 2, 3) for j in (1, 2, 3) if j > i]
    for i, j in hidden:
        expect(cell(page, f"M1[{i},{j}]")).to_have_text("−∞")
        assert "repeating-linear-gradient" in cell(page, f"M1[{i},{j}]").evaluate(
            "e => getComputedStyle(e).backgroundImage"
        )
        expect(cell(page, f"A1[{i},{j}]")).to_have_text("0")
    page.get_by_role("switch").first.click()
    for i, j in hidden:
        assert math.isfinite(shown(page, f"M1[{i},{j}]"))
        assert shown(page, f"A1[{i},{j}]") > 0


@pytest.mark.parametrize("lang", LANGS)
def test_predict_first(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=head", lang=lang)
    page.get_by_role("button", name=PREDICT).click()
    expect(cell(page, "D[2,3]")).to_have_text("?")
    assert "?" in arithmetic(page)
    for name in ("e[2,3]", "A[2,3]"):  # what would give it away
        expect(cell(page, name)).to_have_text("·")
        assert not re.search(r"= [\d−]", cell(page, name).get_attribute("aria-label") or "")
    cell(page, "A[2,3]").click()
    assert not re.search(r"\d", arithmetic(page))
    cell(page, "D[2,3]").click()

    def guess(name: str, value: str) -> None:
        cell(page, name).click()
        page.get_by_role("button", name=ANSWER).click()
        page.keyboard.type(value)
        page.keyboard.press("Enter")

    guess("D[2,3]", "3.02")
    expect(cell(page, "D[2,3]")).to_have_class(re.compile(r"\bbad\b"))
    expect(cell(page, "D[2,3]")).to_have_text("?")
    page.get_by_role("button", name=re.compile("^(Hint|提示)$")).click()
    assert arithmetic(page).endswith("/√4 = ?")
    page.get_by_role("button", name=re.compile("^(Hint|提示)$")).click()
    assert "3·2" in arithmetic(page)
    guess("D[2,3]", "3.01")
    expect(cell(page, "D[2,3]")).to_have_class(re.compile(r"\bgood\b"))
    expect(cell(page, "D[2,3]")).to_contain_text("3")


@pytest.mark.parametrize("lang", LANGS)
def test_what_is_no_number_is_refused_and_says_why(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=head", lang=lang)
    write(page, "X[2,4]", "abc")
    refused = page.locator(".refused")
    expect(refused).to_contain_text("“abc”")
    expect(page.locator("[aria-live]").filter(has_text="abc")).to_have_count(1)
    expect(cell(page, "X[2,4]").locator("input")).to_have_attribute("aria-invalid", "true")
    gap = (refused.bounding_box() or {})["y"] - (cell(page, "X[2,4]").bounding_box() or {})["y"]
    assert 0 < gap < 60
    page.keyboard.press("Escape")
    expect(refused).to_have_count(0)
    assert shown(page, "X[2,4]") == 1
    write(page, "X[2,4]", "－１．５")
    assert shown(page, "X[2,4]") == -1.5
    page.keyboard.press("Control+z")
    assert page.locator("td.changed").count() == 0 and page.get_by_test_id("counter").count() == 0


@pytest.mark.parametrize("lang", LANGS)
def test_the_counter_counts_what_is_on_show(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=x", lang=lang)  # scores and what follows them are folded
    write(page, "X[2,4]", "2")
    numbers = {int(n) for n in re.findall(r"\d+", page.get_by_test_id("counter").inner_text())}
    assert page.locator("td.changed").count() - 1 in numbers and max(numbers) <= 12


@pytest.mark.parametrize("lang", LANGS)
def test_on_a_telephone_the_arithmetic_is_in_sight(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=head", lang=lang, size=(390, 844), has_touch=True)
    cell(page, "D[2,3]").tap()
    bar = page.get_by_test_id("arithmetic").bounding_box() or {}
    assert bar["y"] > 0 and bar["y"] + bar["height"] <= 844
    tapped = cell(page, "D[2,3]").bounding_box() or {}
    assert 0 < tapped["y"] < (page.locator(".formula-bar").bounding_box() or {})["y"]


def test_old_values_stand_below_the_new_ones(open_page: Open):
    page = open_page("#/v1/hand?lesson=mask")
    page.locator(".try").nth(1).click()
    padding = page.locator("td.changed").evaluate_all(
        "all => all.map(e => parseFloat(getComputedStyle(e).paddingBottom))"
    )
    assert padding and min(padding) >= 12


def test_of_a_model_the_strongest_pair_of_words_is_opened(open_page: Open):
    page = open_page("#/v1/hand?lesson=real")
    until(page, "document.querySelector('.badge') !== null && document.querySelector('.formula-bar') !== null")
    pair = [page.locator(".pickers select").nth(i).evaluate("e => e.selectedOptions[0].text") for i in (3, 4)]
    assert all(re.fullmatch(r"\d+ \w+", word) for word in pair) and pair[0] != pair[1]
    name = page.locator(".cell-name").inner_text()
    assert name == f"a({pair[0].split()[1]}, {pair[1].split()[1]})"
    write(page, "q[1,1]", "3")
    expect(page.get_by_role("button", name="CSV", exact=True)).to_be_visible()  # with that 3 in it


@pytest.mark.parametrize("lang", LANGS)
def test_worksheet_and_spreadsheet(lang: str, open_page: Open, tmp_path: Path):
    page = open_page("#/v1/hand?lesson=head", lang=lang)
    page.get_by_role("button", name=re.compile("^(Worksheet|练习纸)$")).click()
    blanks, key = page.locator(".paper").all()
    empty = blanks.locator("td.blank")
    assert empty.count() == key.locator("td.blank").count() > 40
    assert not "".join(empty.all_inner_texts()).strip()
    assert all(text.strip() for text in key.locator("td.blank").all_inner_texts())
    page.emulate_media(media="print")
    assert not page.locator(".top").is_visible()
    paper = page.pdf(format="A4")
    assert paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") + paper.count(b"/Type /Page/") >= 2
    page.emulate_media(media="screen")
    page.keyboard.press("Escape")
    expect(page.locator(".worksheet")).to_have_count(0)

    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(tmp_path / "sheet.csv")
    rows = list(csv.reader((tmp_path / "sheet.csv").read_text("utf-8-sig").splitlines()))
    formulas = [field for row in rows for field in row if field.startswith("=")]
    assert len(formulas) == empty.count() or len(formulas) > 40
    assert any("EXP(" in formula for formula in formulas) and any("SQRT(4)" in formula for formula in formulas)


@pytest.mark.parametrize("lang", LANGS)
def test_order_and_lookup(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=order", lang=lang)
    assert "max|Δ| = 0" in page.get_by_test_id("order").inner_text()
    page.get_by_role("switch").first.click()
    difference = re.search(r"= ([\d.]+)$", page.get_by_test_id("order").inner_text())
    assert difference and float(difference[1]) > 0.01

    page = open_page("#/v1/hand?lesson=lookup", lang=lang)
    assert [cell(page, f"Z{i}[1,1]").inner_text().strip() for i in ("1", "2", "")] == ["19", "19", "19.00"]


@pytest.mark.parametrize("lang", LANGS)
def test_two_ways_to_the_output(lang: str, open_page: Open):
    page = open_page("#/v1/hand?lesson=heads", lang=lang)
    joined = [shown(page, f"O[{i},{j}]") for i in (1, 2, 3) for j in range(1, 9)]
    page.get_by_role("radio", name=re.compile("sum of heads|各头相加")).click()
    added = [shown(page, f"T[{i},{j}]") for i in (1, 2, 3) for j in range(1, 9)]
    assert added == joined
    first, second = ([shown(page, f"O{h}[2,{j}]") for j in range(1, 9)] for h in (1, 2))
    assert [a + b for a, b in zip(first, second, strict=True)] == pytest.approx(added[8:16], abs=0.011)


@pytest.mark.parametrize("lang", LANGS)
def test_ones_own_model(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/attention?stack=encoder.self_attn&l=1", lang=lang)
    run = ask(page, "The Law will never be perfect , but its application should be just .")
    tokens = explorer.get(f"/runs/{run}")["src"]["tokens"]
    its = next(i for i, token in enumerate(tokens) if token["text"] == "its")
    law = next(i for i, token in enumerate(tokens) if token["word"] == 1)
    page.evaluate(f"location.hash = '#/v1/hand?run={run}&stack=encoder.self_attn&l=1&h=2&q={its}&k={law}'")
    until(page, "document.querySelector('.badge.good') !== null")
    difference = re.search(r"max\|Δ\| = ([\d.]+e−\d+)", page.locator(".badge").inner_text())
    assert difference and float(difference[1].replace("−", "-")) <= 1e-5

    at = "encoder.1.self_attn"
    held = explorer.tensors(run, *(f"{at}.{name}" for name in ("q", "k", "v", "weights", "z", "out")))
    q, k, weights = held[f"{at}.q"][2, its], held[f"{at}.k"][2], held[f"{at}.weights"][2, its]
    assert shown(page, "q[1,1]") == pytest.approx(float(q[0]), abs=5.1e-5)
    assert shown(page, f"K[{law + 1},8]") == pytest.approx(float(k[law, 7]), abs=5.1e-5)
    assert shown(page, f"S[1,{law + 1}]") == pytest.approx(float(q @ k[law]), abs=2e-4)
    assert shown(page, f"D[1,{law + 1}]") == pytest.approx(float(q @ k[law]) / math.sqrt(len(q)), abs=1e-4)
    for j in range(len(tokens)):
        assert shown(page, f"A[1,{j + 1}]") == pytest.approx(float(weights[j]), abs=6e-5)
    assert shown(page, "Z[1,1]") == pytest.approx(float(held[f"{at}.z"][2, its, 0]), abs=6e-5)
    assert shown(page, "O[1,1]") == pytest.approx(float(held[f"{at}.out"][its, 0]), abs=6e-5)
    cell(page, f"S[1,{law + 1}]").click()
    assert re.search(r"… Σ .*61.* = ", arithmetic(page))
    equal = re.search(r"max\|Δ\| = (\S+)", page.locator(".equal").inner_text())
    assert equal and float(equal[1].replace("−", "-")) <= 1e-5

    code = page.locator(".code-line")
    code.locator("summary").click()
    file, line = code.locator(".mono").inner_text().split(":")
    source = (Path(__file__).resolve().parents[2] / "src" / file).read_text().splitlines()
    assert source[int(line) - 1].strip() == code.locator("code").inner_text().splitlines()[0].strip()

    bars = page.get_by_test_id("bar")
    before = bars.evaluate_all("bars => bars.map(bar => bar.getAttribute('width'))")
    curves = page.locator(".lesson .pictures path").evaluate_all("paths => paths.map(path => path.style.opacity)")
    z = shown(page, "Z[1,1]")
    write(page, "q[1,1]", "25")
    assert bars.evaluate_all("bars => bars.map(bar => bar.getAttribute('width'))") != before
    assert (
        page.locator(".lesson .pictures path").evaluate_all("paths => paths.map(path => path.style.opacity)") != curves
    )
    assert shown(page, "Z[1,1]") != z
    page.get_by_role("button", name=re.compile("Everything as at the beginning|恢复最初的数字")).click()
    assert bars.evaluate_all("bars => bars.map(bar => bar.getAttribute('width'))") == before
    assert shown(page, "Z[1,1]") == z


def test_every_attention_of_a_model_is_verified(open_page: Open):
    page = open_page("#/v1/hand?lesson=x")
    ask(page, "a dog runs", TINY)
    for stack, layers in (("encoder.self_attn", 3), ("decoder.self_attn", 2), ("decoder.cross_attn", 2)):
        for layer in range(layers):
            run = parameter(page, "run")
            page.evaluate(f"location.hash = '#/v1/hand?run={run}&lesson=real&stack={stack}&l={layer}&h=7&q=1&k=0'")
            until(page, "document.querySelector('.badge') !== null && document.querySelector('.formula-bar') !== null")
            expect(page.locator(".badge.good")).to_be_visible()
            expect(page.locator(".pickers select").nth(1)).to_have_value(str(layer))


def test_the_keyboard_alone(open_page: Open):
    page = open_page("#/v1/hand?lesson=head")
    cell(page, "X[2,3]").focus()
    page.keyboard.press("ArrowRight")
    expect(cell(page, "X[2,4]")).to_be_focused()
    page.keyboard.type("5")
    expect(page.locator('td[data-id="X[2,4]"] input')).to_have_value("5")
    page.keyboard.press("Escape")
    assert shown(page, "X[2,4]") == 1
    expect(cell(page, "X[2,4]")).to_be_focused()
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    assert shown(page, "X[2,4]") == 5
    page.keyboard.press("ArrowRight")
    expect(cell(page, "W_Q[2,1]")).to_be_focused()
    cell(page, "D[1,3]").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("4")
    page.keyboard.press("Enter")
    assert "held" in (cell(page, "D[1,3]").get_attribute("aria-label") or "")
    page.keyboard.press("Delete")
    assert shown(page, "D[1,3]") == -1
    assert parameter(page, "lesson") == "head"  # no digit went to the shell
    assert page.locator('[role="gridcell"][tabindex="0"]').count() == 1


@pytest.mark.parametrize(("lang", "theme"), [("en", "light"), ("zh", "dark"), ("en", "dark"), ("zh", "light")])
def test_open_to_all(lang: str, theme: str, open_page: Open):
    axe = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        missing("no axe-core", "make web")
    page = open_page("#/v1/hand", lang=lang, theme=theme, size=(1280, 800))
    for address in (
        "lesson=heads",
        "lesson=mask",
        "lesson=scale",
        "lesson=real",
        "lesson=heads&level=picture",
        "lesson=head&level=code",
    ):
        page.evaluate(f"location.hash = '#/v1/hand?{address}'")
        until(page, "document.querySelector('.hand-tools') !== null")
        if address == "lesson=mask":
            page.locator(".try").first.click()
        if address == "lesson=scale":
            page.get_by_role("button", name=PREDICT).click()
        page.wait_for_timeout(300)
        page.evaluate(axe.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
        told = [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found]
        assert told == [], f"{address} {lang} {theme}"


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_every_lesson_fits(lang: str, width: int, open_page: Open):
    page = open_page("#/v1/hand", lang=lang, theme="dark" if lang == "zh" else "light", size=(width, 900))
    for lesson in [*LESSONS, "real"]:
        page.evaluate(f"location.hash = location.hash.replace(/[?&]lesson=\\w+/, '') + '&lesson={lesson}'")
        until(page, "document.querySelector('.formula-bar .cell-name') !== null")
        assert (
            page.evaluate(
                "(() => { const h = document.querySelector('.hand'); return h.scrollWidth - h.clientWidth })()"
            )
            <= 0
        )
        clipped = page.locator(".hand button:visible").evaluate_all(
            "all => all.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.textContent)"
        )
        assert clipped == []
        assert "hand." not in page.locator(".hand").inner_text()
        assert not re.search(r"\w_\w|\*\*|undefined|NaN", page.locator(".lesson").inner_text())


@pytest.mark.parametrize("lang", LANGS)
def test_a_saved_page_computes_without_a_server(lang: str, open_page: Open, explorer: Explorer, tmp_path: Path):
    page = open_page("#/v1/hand?lesson=x", lang=lang)
    run = ask(page, "a dog runs", TINY)
    saved = tmp_path / "page.html"
    saved.write_bytes(page.request.get(f"{explorer.base}api/v1/export/{run}?form=html&lang={lang}").body())
    page = open_page("#/v1/hand?lesson=head", lang=lang, base=saved.as_uri(), offline=True)
    write(page, "X[2,4]", "2")
    assert shown(page, "D[2,3]") == 4
    page.evaluate("location.hash = '#/v1/hand?lesson=real&stack=decoder.cross_attn&l=1&h=3&q=1&k=2'")
    until(page, "document.querySelector('.badge.good') !== null")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert download.value.suggested_filename == "by-hand-model.csv"


@pytest.mark.parametrize("lang", LANGS)
def test_a_page_of_the_maps_alone_says_what_it_does_not_hold(
    lang: str, open_page: Open, explorer: Explorer, tmp_path: Path
):
    page = open_page("#/v1/hand?lesson=x", lang=lang)
    run = ask(page, "a dog runs", TINY)
    saved = tmp_path / "page.html"
    saved.write_bytes(page.request.get(f"{explorer.base}api/v1/export/{run}?form=html&data=view&lang={lang}").body())
    page = open_page("#/v1/hand?lesson=real&stack=decoder.cross_attn&l=1", lang=lang, base=saved.as_uri(), offline=True)
    said = {"en": "This file does not hold decoder.1.cross_attn.q.", "zh": "这个文件里没有 decoder.1.cross_attn.q。"}
    until(page, f"document.querySelector('.notice-text')?.innerText.includes('{said[lang]}')")
    write(open_page("#/v1/hand?lesson=head", lang=lang, base=saved.as_uri(), offline=True), "X[2,4]", "2")
