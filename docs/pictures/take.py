"""Takes the pictures of the explorer that the docs show: `python docs/pictures/take.py`, in a checkout that `make e2e` ran in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent
SENTENCE = "My brother bought an old house near the river."
TO = "de"
LESSONS = ("head", "heads", "lookup")
VIEWS = {
    "attention": {"stack": "decoder.cross_attn", "l": "1", "w": "1"},
    "alignment": {},
    "decoding": {"t": "4"},
}


def main() -> None:
    """Take them all."""
    command = [sys.executable, "-m", "sightline", "explore", "--no-open"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[0].partition("#")[0]
        path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            for lang in ("en", "zh"):
                small = opened(browser, 1280, 760)
                run = translated(small, url, lang)
                for view, given in VIEWS.items():
                    show(small, url, view, {**given, "run": run, "lang": lang})
                    small.screenshot(path=FOLDER / f"{view}-{lang}.png")
                large = opened(browser, 1440, 1000)
                for lesson in LESSONS:
                    show(large, url, "hand", {"lesson": lesson, "lang": lang})
                    if lesson == "head":
                        large.locator(".tries button, .try button").first.click()
                        large.wait_for_timeout(500)
                    large.screenshot(path=FOLDER / f"by-hand-{lesson}-{lang}.png")
                where = {"stack": "encoder.self_attn", "l": "2", "h": "0", "q": "3", "k": "2"}
                show(large, url, "hand", {**where, "run": run, "lang": lang})
                large.screenshot(path=FOLDER / f"by-hand-real-{lang}.png")
            browser.close()
        server.terminate()


def opened(browser: Browser, width: int, height: int) -> Page:
    """An empty page that does not offer its tour."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.add_init_script("localStorage.setItem('sightline.tour', 'done')")
    return page


def translated(page: Page, url: str, lang: str) -> str:
    """The id of the run of the sentence."""
    show(page, url, "overview", {"lang": lang})
    page.locator("header select").first.select_option(TO)
    page.locator("header input[type=text], header textarea").first.fill(SENTENCE)
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_function(
        "before => location.href !== before && !document.querySelector('[aria-busy=true]')", arg=before
    )
    page.wait_for_timeout(500)
    found = re.search(r"run=(\w+)", page.url)
    assert found is not None
    return found.group(1)


def show(page: Page, url: str, view: str, given: dict[str, str]) -> None:
    """A view with its numbers in it."""
    page.goto("about:blank")
    page.goto(f"{url}#/v1/{view}?{urlencode(given)}")
    page.wait_for_function("() => document.querySelector('main') && !document.querySelector('[aria-busy=true]')")
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main()
