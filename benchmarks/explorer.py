"""How long a person waits for the explorer: from the command to the first picture, and at each thing that one does.

    python benchmarks/explorer.py

A real server and a real Chromium (Debian's, or that of the variable CHROMIUM), the built-in model, and for maps of 512 x 512 a
small one with random weights. Figures of the page are times from the event to the second frame after it: one to two frames (16 to
33 ms) are the least that is seen, and the line "nothing" says how much of that a moment of this machine is.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from sightline.bundle import Bundle, BundleConfig, save_bundle
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig

SENTENCE = "The Law will never be perfect , but its application should be just ."
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
DRAWN = """() => {
  const each = document.querySelector('.pictures canvas');
  if (!each || each.width < 400) return false;
  return each.getContext('2d').getImageData(0, 0, each.width, each.height).data.some((x, i) => i % 4 === 3 && x > 0);
}"""
LONG = ("a dog runs . the cat sat , " * 30)[:511]
"""With the end token 512 tokens of the small model, whose tokens are characters."""
TIMED = """async (act) => { const began = performance.now(); eval(act);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); return performance.now() - began; }"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found: list[tuple[str, str, str]] = []

    def add(what: str, target: str, seconds: list[float]) -> None:
        ordered = sorted(seconds)
        shown = " / ".join(
            f"{x:.2f} s" if x >= 1 else f"{1000 * x:.0f} ms" for x in (statistics.median(ordered), ordered[-1])
        )
        found.append((what, target, shown))
        print(f"{what}: {shown}", file=sys.stderr)

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        urls, pictures = [], []
        process, page = begin(browser, urls, pictures)
        for _ in range(args.rounds - 1):
            page.context.close()
            stop(process)
            process, page = begin(browser, urls, pictures)
        url = page.url.partition("#")[0]
        add("command to address printed", "", urls)
        add("command to first picture, built-in model", "3 s", pictures)
        paints, opened = [], []
        for _ in range(args.rounds):
            fresh = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            began = time.perf_counter()
            fresh.goto(f"{url}#/v1/attention?lang=en")
            fresh.wait_for_function(DRAWN)
            opened.append(time.perf_counter() - began)
            paints.append(fresh.evaluate(PAINTED) / 1000)
            fresh.context.close()
        add("page of a running server: first paint", "0.5 s", paints)
        add("page of a running server: picture and all controls", "1 s", opened)
        add(
            "new sentence of 19 tokens to its picture, beam 4", "1.5 s", [sentence(page, i) for i in range(args.rounds)]
        )
        acts(page, add, 4 * args.rounds)
        page.context.close()
        stop(process)
        with tempfile.TemporaryDirectory() as folder:
            long(browser, small(Path(folder)), add, 4 * args.rounds)
        browser.close()
    table = Table("", "target", "median / longest")
    for row in found:
        table.add_row(*row)
    Console(width=120).print(table)


def begin(browser: Browser, urls: list[float], pictures: list[float]) -> tuple[subprocess.Popen[str], Page]:
    """A server and a page with its first picture; adds the seconds to the address and to the picture."""
    began = time.perf_counter()
    process, url = start()
    urls.append(time.perf_counter() - began)
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}#/v1/attention?lang=en")
    page.wait_for_function(DRAWN, timeout=60_000)
    pictures.append(time.perf_counter() - began)
    return process, page


def start(*bundles: str) -> tuple[subprocess.Popen[str], str]:
    """The server, and its address once it is printed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sightline", "explore", *bundles, "--no-open", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src"), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    url = process.stdout.readline().split()[0].partition("#")[0]
    urllib.request.urlopen(url).read()
    return process, url


def stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    process.wait(20)


def sentence(page: Page, number: int) -> float:
    """Seconds from Enter in the sentence's field to the picture of a sentence that was not asked for before."""
    text = SENTENCE.replace("just", ["just", "good", "fair", "kind", "true", "new", "old", "big"][number % 8])
    field = page.get_by_role("textbox").first
    field.fill(text)
    page.evaluate("() => { window.before = location.hash }")
    began = time.perf_counter()
    field.press("Enter")
    page.wait_for_function("() => location.hash !== window.before && !document.querySelector('[aria-busy=true]')")
    page.wait_for_function(DRAWN)
    return time.perf_counter() - began


KEY = "window.dispatchEvent(new KeyboardEvent('keydown', { key: '%s', bubbles: true }))"
POINTER = """{ const c = document.querySelector('.pictures canvas'), b = c.getBoundingClientRect(); const at = (x, y) =>
  ({ pointerId: 1, pointerType: 'mouse', bubbles: true, cancelable: true, clientX: b.left + x, clientY: b.top + y }); """
MOVE = POINTER + "c.dispatchEvent(new PointerEvent('pointermove', at(%d, %d + 20 * ($ %% 8)))); }"
WHEEL = POINTER + "c.dispatchEvent(new WheelEvent('wheel', { ...at(200, 250), deltaY: $ % 16 < 10 ? -120 : 200 })); }"
DRAG = POINTER + "c.dispatchEvent(new PointerEvent('pointermove', at(200 + 5 * ($ % 8), 250 + 3 * ($ % 8)))); }"
DOWN = POINTER + "c.setPointerCapture = () => {}; c.dispatchEvent(new PointerEvent('pointerdown', at(190, 240))); }"


def timed(page: Page, rounds: int, prepare: str, act: str, pause: int = 60) -> list[float]:
    """Seconds of `act`, a script, with `$` for the number of the round."""
    seconds = []
    for i in range(rounds):
        page.evaluate(prepare.replace("$", str(i)) or "0")
        page.wait_for_timeout(pause)
        seconds.append(page.evaluate(TIMED, act.replace("$", str(i))) / 1000)
    return seconds


def acts(page: Page, add: Callable[[str, str, list[float]], None], rounds: int) -> None:
    """What one does with the picture of 19 tokens, and with a sheet."""
    add("nothing: the two frames alone", "", timed(page, rounds, "", "0"))
    add("hover over a word, 19 tokens, lines", "16 ms", timed(page, rounds, "", MOVE % (40, 90)))
    add("next word", "16 ms", timed(page, rounds, "", KEY % "ArrowRight"))
    add("another layer", "50 ms", timed(page, rounds, KEY % "ArrowUp", KEY % "ArrowDown"))
    page.evaluate("() => { location.hash = '#/v1/hand?lesson=head&lang=en' }")
    page.wait_for_selector("td[role=gridcell]")
    page.wait_for_timeout(500)
    add("edit a cell of a lesson", "16 ms", [edit(page, i) for i in range(rounds)])
    page.evaluate("() => { location.hash = '#/v1/hand?stack=encoder.self_attn&l=1&h=1&q=3&k=1&lang=en' }")
    page.wait_for_selector(".badge")
    page.wait_for_timeout(500)
    add("edit a number of a head of the model", "100 ms", [edit(page, i) for i in range(rounds)])


def small(folder: Path) -> str:
    """A bundle of six layers of eight heads with random weights, whose tokens are characters."""
    torch.manual_seed(5)
    lines = [LONG] * 4
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=64), lines, lines)
    config = TransformerConfig.model_validate(
        {"d_model": 32, "n_heads": 8, "d_ff": 48, "n_encoder_layers": 6, "n_decoder_layers": 1, "max_len": 600}
    )
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    save_bundle(folder, Bundle(BundleConfig(name="six-by-eight", model=config), model, tokenizer, ""))
    return str(folder)


def long(browser: Browser, bundle: str, add: Callable[[str, str, list[float]], None], rounds: int) -> None:
    """Eight maps of 512 x 512 at once, of a stack of six layers."""
    process, url = start(bundle)
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}#/v1/attention?lang=en")
    page.wait_for_function(DRAWN, timeout=60_000)
    field = page.get_by_role("textbox").first
    page.evaluate("() => { window.before = location.hash }")
    field.fill(LONG)
    field.press("Enter")
    page.wait_for_function("() => location.hash !== window.before", timeout=120_000)
    drawn = "() => document.querySelector('[data-kind=matrix]') && (" + DRAWN + ")()"
    page.wait_for_function(drawn, timeout=60_000)
    nodes = page.evaluate("document.querySelectorAll('*').length")
    print(f"nodes of the page at 512 tokens: {nodes} (at most 3,000)", file=sys.stderr)
    add("hover over a row, 512 tokens, 8 maps", "50 ms", timed(page, rounds, "", MOVE % (150, 120)))
    add("zoom, 8 maps of 512 x 512", "16 ms", timed(page, rounds, "", WHEEL))
    page.evaluate(KEY % "0")
    page.evaluate(KEY % "+")
    page.evaluate(DOWN)
    add("pan, 8 maps of 512 x 512", "16 ms", timed(page, rounds, "", DRAG))
    page.evaluate(POINTER + "c.dispatchEvent(new PointerEvent('pointerup', at(200, 250))); }")
    add("next word, 512 tokens, 8 maps", "50 ms", timed(page, rounds, "", KEY % "ArrowRight"))
    page.context.close()
    stop(process)


def edit(page: Page, number: int) -> float:
    """Seconds from Enter after a number to the frame that shows all that follows from it."""
    page.locator("td[role=gridcell]").nth(1).click()
    page.keyboard.press("Enter")
    page.keyboard.type(str(number % 3 + 1))
    act = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true }))"
    return page.evaluate(TIMED, act) / 1000


if __name__ == "__main__":
    main()
