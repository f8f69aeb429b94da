"""Every view in both languages and themes: nothing runs out of its place, and axe has nothing to say."""

import json
import os
from pathlib import Path

import pytest
from tests.e2e.conftest import LANGS, ROOT, Open, missing

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

VIEWS = {
    "overview": "#/v1/overview?box=cross_attn",
    "attention": "#/v1/attention?q=2&k=1",
    "attention-matrix": "#/v1/attention?mode=matrix&stack=decoder.self_attn",
    "attention-table": "#/v1/attention?mode=table",
    "alignment": "#/v1/alignment?q=1&k=2&ref=0-0+1p1",
    "alignment-both": "#/v1/alignment?w=1&s=1&c=hue&l=1&h=0&rev=1&j=union",
    "alignment-table": "#/v1/alignment?mode=table&r=in",
    "decoding": "#/v1/decoding?t=2&a=0.5",
    "decoding-table": "#/v1/decoding?mode=table&h=1&w=0",
}
CUT = """() => [...document.querySelectorAll('button, a, h2, h3, label, select')]
    .filter((one) => one.offsetParent && !one.closest('.unseen') && getComputedStyle(one).display !== 'inline')
    .filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.textContent.trim().slice(0, 40))"""
"""What is wider than its place."""
SIZES = [(1440, 900), (1280, 800), (390, 844)]


@pytest.fixture(scope="session")
def axe() -> str:
    path = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
    if not path.is_file():
        missing("no axe-core", "make web")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_view_is_in_its_place_and_open_to_all(lang: str, theme: str, open_page: Open, axe: str):
    """With SCREENSHOTS set to a folder, pictures of all are left there to look at."""
    wrong: list[object] = []
    for width, height in SIZES:
        page = open_page(lang=lang, theme=theme, size=(width, height))
        for name, address in VIEWS.items():
            page.goto(page.url.split("#")[0] + address)
            page.wait_for_selector("main .workbench")
            page.wait_for_timeout(300)
            where = f"{name} {lang} {theme} {width}"
            if folder := os.environ.get("SCREENSHOTS"):
                page.screenshot(path=Path(folder) / f"{name}-{lang}-{theme}-{width}.png")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong.append((where, "wider than the window"))
            cut = page.evaluate(CUT)
            wrong += [(where, "cut", text) for text in cut]
            page.evaluate(axe)
            found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
            wrong += [
                (where, one["id"], [node["html"][:160] for node in one["nodes"][:3]], one["nodes"][0]["failureSummary"])
                for one in found
            ]
        page.context.close()
    assert wrong == [], json.dumps(wrong, ensure_ascii=False, indent=1)
