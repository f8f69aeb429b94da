"""A real browser on a real server. Run by themselves: `pytest -n0 -m browser tests/e2e`, or `make test`."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from safetensors.torch import load

from sightline.bundle import Bundle, BundleConfig, save_bundle
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ROOT / "src" / "sightline" / "builtin"
LANGS = ("en", "zh")
TINY = "three-and-two"
"""The tiny model: three layers of encoder, two of decoder, eight heads, random weights."""


def missing(what: str, remedy: str) -> None:
    """Skips where somebody develops, fails in CI: tests of the page must not silently disappear there."""
    message = f"{what}: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        missing("no browser", "apt install chromium fonts-noto-cjk, or set CHROMIUM to one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny model."""
    folder = tmp_path_factory.mktemp("models") / TINY
    lines = ["a dog runs . the cat sat , its <b> & </script>"] * 4
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=64), lines, lines)
    config = TransformerConfig.model_validate(
        {"d_model": 32, "n_heads": 8, "d_ff": 48, "n_encoder_layers": 3, "n_decoder_layers": 2, "max_len": 600}
    )
    torch.manual_seed(5)
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    save_bundle(folder, Bundle(BundleConfig(name=TINY, model=config), model, tokenizer, ""))
    return folder


@dataclass
class Explorer:
    """The server, and its API as a test asks it."""

    base: str
    log: Path

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.base}api/v1{path}") as reply:
            return json.load(reply)

    def tensors(self, run: str, *names: str) -> dict[str, torch.Tensor]:
        with urllib.request.urlopen(f"{self.base}api/v1/runs/{run}/pack?names={','.join(names)}&dtype=f32") as reply:
            return load(reply.read())


@pytest.fixture(scope="session")
def explorer(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """`sightline explore` with the built-in model and the tiny one."""
    with serving([BUILTIN, tiny], tmp_path_factory.mktemp("server") / "log.txt") as explorer:
        yield explorer


@contextmanager
def serving(folders: Sequence[Path], log: Path) -> Iterator[Explorer]:
    """`sightline explore` with some models."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "sightline", "explore", *map(str, folders), "--no-open", "--port", str(port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=env)
    try:
        explorer = Explorer(f"http://127.0.0.1:{port}/", log)
        for _ in range(300):
            try:
                explorer.get("/models")
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
        else:
            raise AssertionError(f"no answer from the server: {log.read_text()}")
        yield explorer
    finally:
        process.terminate()
        process.wait(20)


@dataclass
class Watched:
    """What pages did that they must not do."""

    base: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)
    allowed: tuple[str, ...] = ()
    """Parts of messages that a test expects."""

    def watch(self, page: Page) -> Page:
        page.on("console", lambda message: self._said(message.type, message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        return page

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(part in text for part in self.allowed):
            self.errors.append(text)

    def _failed(self, url: str, why: str) -> None:
        if "ERR_ABORTED" not in why:  # a page that is left gives up what it asked for
            self._said("error", f"{why}: {url}")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.base, "data:", "blob:", "file:")):
            self.foreign.append(url)


Open = Callable[..., Page]


@pytest.fixture
def watched(explorer: Explorer) -> Iterator[Watched]:
    """Pages must not complain, nor ask another host."""
    watched = Watched(explorer.base)
    yield watched
    for context in watched.contexts:
        context.close()
    assert watched.errors == []
    assert watched.foreign == []


@pytest.fixture
def open_page(chromium: Browser, explorer: Explorer, watched: Watched) -> Open:
    """Opens the page at an address such as `#/v1/attention?l=1` and waits until a view is there."""

    def opened(
        address: str = "",
        lang: str = "en",
        theme: str = "light",
        size: tuple[int, int] = (1440, 900),
        tour: bool = False,
        base: str | None = None,
        **options: Any,
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if theme == "dark" else "light",
            locale="zh-CN" if lang == "zh" else "en-US",
            accept_downloads=True,
            **options,
        )
        watched.contexts.append(context)
        if not tour:
            context.add_init_script("try { localStorage.setItem('sightline.tour', 'done') } catch {}")
        page = watched.watch(context.new_page())
        page.goto((base or explorer.base) + address)
        page.wait_for_selector("main .workbench", timeout=30_000)
        return page

    return opened


def until(page: Page, holds: str, seconds: float = 60) -> None:
    """Waits until a JavaScript expression is true. Playwright's own wait evaluates text in the page, which its policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(holds):
        assert time.monotonic() < end, f"not within {seconds} s: {holds}\n{page.locator('body').inner_text()[:2000]}"
        page.wait_for_timeout(50)


def ask(page: Page, sentence: str, model: str | None = None) -> str:
    """Runs a sentence as a reader does; gives the run's id."""
    before = run_of(page)
    if model:
        page.get_by_role("combobox").first.select_option(model)
        until(page, f"!location.hash.includes('run={before}')")
        before = run_of(page)
    page.locator(".sentence").fill(sentence)
    page.locator(".sentence").press("Enter")
    until(page, f"!location.hash.includes('run={before}')")
    page.wait_for_selector(".progress", state="detached")
    return run_of(page)


def run_of(page: Page) -> str:
    return page.evaluate("new URLSearchParams(location.hash.split('?')[1] ?? '').get('run') ?? ''")


def parameter(page: Page, name: str) -> str | None:
    return page.evaluate("name => new URLSearchParams(location.hash.split('?')[1] ?? '').get(name)", name)
