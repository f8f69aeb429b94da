"""The first minutes, sharing, and a page without a server."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.e2e.conftest import LANGS, TINY, Explorer, Open, Watched, ask, parameter, run_of

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


def texts(page: Page) -> str:
    return page.locator("body").inner_text()


@pytest.mark.parametrize("lang", LANGS)
def test_the_first_visit_shows_a_translated_sentence_the_model_as_it_is_and_offers_a_tour(
    lang: str, open_page: Open, explorer: Explorer
):
    page = open_page(lang=lang, tour=True)
    assert page.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
    run = explorer.get(f"/runs/{run_of(page)}")
    info = run["model"]
    facts = page.locator(".facts").inner_text()
    assert (
        f"{info['parameters']:,}".replace(",", "\u2009") in facts
        or f"{info['parameters']:,}".replace(",", " ") in facts
    )
    assert f"{info['encoder_layers']} + {info['decoder_layers']}" in facts
    assert page.locator(".hero .tgt").inner_text() == run["translation"]
    for name in ("encoder_attn", "decoder_attn", "cross_attn"):
        assert str(info["stacks"][0]["heads"][0]) in page.locator(f'[data-box="{name}"]').inner_text()
    page.get_by_role("button", name={"en": "Show me", "zh": "好的"}[lang]).click()
    for step in range(1, 8):
        expect(page.get_by_role("dialog")).to_contain_text(f"{step} / 7")
        # Both in one look: the card moves to another corner when what it speaks of has been drawn.
        text, buttons = page.get_by_role("dialog").evaluate(
            "(card) => ['h2 + p', '.buttons'].map((part) => card.querySelector(part).getBoundingClientRect().toJSON())"
        )
        assert text["width"] > 250 and buttons["top"] >= text["bottom"], "the text stands above the buttons"
        page.get_by_role("dialog").locator(".primary").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    page.wait_for_selector("main .workbench")
    expect(page.get_by_text({"en": "First time here?", "zh": "第一次来？"}[lang])).to_have_count(0)


def test_each_part_of_the_figure_says_what_it_is_and_opens_its_view(open_page: Open):
    page = open_page()
    for box in page.locator("[data-box] button").all():
        box.click()
        assert len(page.locator(".inspector").inner_text()) > 80
    page.locator('[data-box="cross_attn"] a').click()
    assert page.evaluate("location.hash").startswith("#/v1/attention?")
    assert parameter(page, "stack") == "decoder.cross_attn"
    page.go_back()
    expect(page.locator(".figure")).to_be_visible()


@pytest.mark.parametrize("lang", LANGS)
def test_language_and_theme_switch_at_once_and_stay(lang: str, open_page: Open):
    page = open_page("#/v1/attention", lang=lang)
    other = {"en": "zh-CN", "zh": "en"}[lang]
    page.keyboard.press("l")
    page.wait_for_function("lang => document.documentElement.lang === lang", arg=other)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    page.reload()
    page.wait_for_selector("main .workbench")
    assert page.evaluate("document.documentElement.lang") == other
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"


def test_what_is_refused_is_said_in_the_readers_language(open_page: Open, watched: Watched):
    watched.allowed = ("422", "413")
    page = open_page()
    page.locator(".sentence").fill("word " * 700)
    page.locator(".sentence").press("Enter")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("take a shorter one", timeout=20_000)
    page.get_by_role("button", name="中文").click()
    expect(alert).to_contain_text("请换短一些的")


HOSTILE = "</script><script>window.P=1</script> <img src=x onerror=window.P=1> שלום 👩‍👩‍👧 {{P}} ${P}"


@pytest.mark.parametrize("view", ["overview", "attention"])
def test_hostile_words_are_words(view: str, open_page: Open, tmp_path: Path):
    page = open_page(f"#/v1/{view}")
    ask(page, HOSTILE)
    assert page.locator(".sentence").input_value() == HOSTILE
    if view == "attention":
        page.get_by_role("radio", name="Table").click()
        page.get_by_role("radio", name="Words").click()
        assert "script" in page.locator("table").inner_text()
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="HTML").click()
    path = tmp_path / "page.html"
    download.value.save_as(path)
    assert page.evaluate("window.P") is None
    offline = open_page(f"#/v1/{view}", base=path.as_uri(), offline=True)
    assert offline.locator(".sentence").input_value() == HOSTILE
    assert offline.evaluate("window.P") is None


@pytest.mark.parametrize("lang", LANGS)
def test_a_saved_page_opens_from_disk_with_the_network_off(lang: str, open_page: Open, tmp_path: Path):
    page = open_page("#/v1/attention", lang=lang)
    ask(page, "The cat sat.")
    page.get_by_role("button", name=re.compile("Export|导出")).click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="HTML").click()
    path = tmp_path / "page.html"
    download.value.save_as(path)
    # The reader of the file may prefer the other language: it opens in the one that it was saved in.
    saved = open_page("#/v1/attention", lang={"en": "zh", "zh": "en"}[lang], base=path.as_uri(), offline=True)
    assert saved.evaluate("document.documentElement.lang") == {"en": "en", "zh": "zh-CN"}[lang]
    saved.keyboard.press("Alt+2")
    assert parameter(saved, "h") == "1"
    saved.get_by_role("radio", name={"en": "Table", "zh": "数据表"}[lang]).click()
    assert saved.locator("tbody tr").count() == len(saved.locator("thead th").all()) - 2
    saved.keyboard.press("t")
    saved.keyboard.press("l")
    assert saved.evaluate("document.documentElement.lang") == {"en": "zh-CN", "zh": "en"}[lang]
    saved.keyboard.press("1")
    expect(saved.locator(".hero .src")).to_have_text("The cat sat.")


def test_a_copied_link_shows_the_same_even_where_the_server_forgot_the_run(
    open_page: Open, explorer: Explorer, watched: Watched
):
    watched.allowed = ("404",)
    page = open_page("#/v1/attention", permissions=["clipboard-read", "clipboard-write"])
    run = ask(page, "Tom hit Jerry.")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("m")
    page.get_by_role("button", name="Copy link").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "req=" in copied
    again = open_page(copied.removeprefix(explorer.base))
    assert run_of(again) == run
    assert [parameter(again, name) for name in ("l", "q", "mode")] == ["1", "0", "matrix"]
    # A run that is nowhere: the link's own request makes it anew.
    lost = open_page(copied.removeprefix(explorer.base).replace(f"run={run}", "run=" + "0" * 16))
    assert run_of(lost) == run


def test_models_are_chosen_by_name(open_page: Open, explorer: Explorer):
    page = open_page()
    ask(page, "a dog", model=TINY)
    assert explorer.get(f"/runs/{run_of(page)}")["model"]["name"] == TINY
    expect(page.locator(".facts")).to_contain_text("3 / 2")


@pytest.mark.parametrize("lang", LANGS)
def test_a_sentence_that_is_refused_says_why_and_loses_nothing(lang: str, open_page: Open, watched: Watched):
    watched.allowed = ("413",)
    page = open_page("#/v1/decoding", lang=lang)
    run, film = run_of(page), page.locator(".film").inner_text()
    said = {
        "   ": {"en": "There is no text: type a sentence", "zh": "请先输入一个句子"},
        "a " * 600: {"en": "at most 512 can be looked at", "zh": "512"},
        "x" * 20_001: {"en": "20001 characters, and at most 20000", "zh": "20001 个字符，最多接受 20000"},
    }
    for text, message in said.items():
        page.locator(".sentence").fill(text)
        page.get_by_role("button", name={"en": "Run", "zh": "运行"}[lang], exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text(message[lang], timeout=20_000)
        assert page.locator(".sentence").input_value() == text
        assert (run_of(page), page.locator(".film").inner_text()) == (run, film)
    ask(page, "I love you too.")
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("size", [(1440, 900), (390, 844)])
def test_a_note_beside_a_heading_is_whole_wherever_it_stands(size: tuple[int, int], open_page: Open):
    page = open_page("#/v1/alignment", size=size)
    if size[0] < 760:
        page.locator(".sheet-handle").click()
    for button in page.locator(".tooltip button").all():
        button.scroll_into_view_if_needed()
        button.click()
        seen = page.locator(".tooltip .bubble:visible").evaluate("""bubble => {
            const { left, top, right, bottom } = bubble.getBoundingClientRect();
            const corners = [[left + 3, top + 12], [right - 3, top + 12], [left + 3, bottom - 12], [right - 3, bottom - 12]];
            return corners.map(([x, y]) => bubble.contains(document.elementFromPoint(x, y)));
        }""")
        assert seen == [True] * 4
        page.keyboard.press("Escape")
        expect(page.locator(".tooltip .bubble:visible")).to_have_count(0)
