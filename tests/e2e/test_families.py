"""Models that are no Transformers: what they have is shown, and what they have not is said."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page
from tests.e2e.conftest import LANGS, Explorer, Open, ask, run_of, serving, until

from sightline.bundle import Bundle, BundleConfig, save_bundle
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, RecurrentConfig

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

MODELS: dict[str, dict[str, Any]] = {
    "asking-before": {"attention": "dot", "n_heads": 2, "n_decoder_layers": 2},
    "asking-between": {"attention": "dot", "attend": "between"},
    "fed": {"attend": "after", "cell": "lstm", "bidirectional": False},
    "not-fed": {"attend": "after", "input_feeding": False, "attention": "plain-dot"},
    "without": {"attention": "none", "cell": "elman"},
    "convolutional": {"n_heads": 2},
}
SENTENCE = "a dog runs"


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    """`sightline explore` with small recurrent and convolutional models of random weights."""
    folder = tmp_path_factory.mktemp("models")
    lines = ["a dog runs . the cat sat , its <b>"] * 4
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=64), lines, lines)
    for name, more in MODELS.items():
        family = ConvolutionalConfig if name == "convolutional" else RecurrentConfig
        config = family.model_validate({"d_model": 24, "max_len": 60, **more})
        torch.manual_seed(7)
        model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
        with torch.no_grad():
            for each in model.parameters():
                each.normal_(0.0, 0.3)
        save_bundle(folder / name, Bundle(BundleConfig(name=name, model=config), model, tokenizer, ""))
    with serving([folder / name for name in MODELS], folder / "log.txt") as explorer:
        yield explorer


def to(page: Page, view: str, more: str = "") -> None:
    page.goto(f"{page.url.split('#')[0]}#/v1/{view}?run={run_of(page)}{more}")
    page.wait_for_selector("main .workbench")


def picture(page: Page, name: str) -> None:
    """With SCREENSHOTS set to a folder, a picture is left there to look at."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.wait_for_timeout(400)
        page.screenshot(path=Path(folder) / f"family-{name}.png", full_page=True)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["asking-before", "asking-between", "fed", "not-fed"])
def test_the_attention_of_a_recurrent_model_is_seen_in_every_view(
    name: str, lang: str, open_page: Open, explorer: Explorer
) -> None:
    page = open_page(lang=lang)
    run = ask(page, SENTENCE, None if name == "asking-before" else name)
    manifest = explorer.get(f"/runs/{run}")
    assert manifest["model"]["family"] == "recurrent" and manifest["model"]["name"] == name
    weights = explorer.tensors(run, "decoder.0.cross_attn.weights")["decoder.0.cross_attn.weights"]
    heads = len(MODELS[name].get("n_heads", 1) * [0])
    assert weights.shape == (heads, len(manifest["tgt"]["tokens"]), len(manifest["src"]["tokens"]))

    to(page, "overview", "&box=writing")
    boxes = page.locator("[data-box]").evaluate_all("all => all.map((one) => one.dataset.box)")
    assert {"reading", "writing", "cross_attn", "join"} <= set(boxes) and not any("norm" in box for box in boxes)
    assert ("second" in boxes) == (name == "asking-between")
    assert page.locator(".figure path.line").get_attribute("d")
    picture(page, f"{name}-{lang}-overview")

    to(page, "attention", "&mode=table&q=1")
    until(page, "document.querySelectorAll('main table td').length > 0")
    shown = page.locator("main tbody tr").nth(1).locator("td").all_inner_texts()
    expected = [f"{value:.3f}" for value in weights[0, 1].tolist()]
    assert shown[: len(expected)] == expected
    to(page, "attention", "&q=1")
    assert page.locator(".stack").count() == 1
    picture(page, f"{name}-{lang}-attention")

    to(page, "alignment")
    until(page, "document.querySelector('.picture')?.getAttribute('aria-busy') === 'false'")
    assert page.locator(".which").get_attribute("data-place", timeout=5000) in {f"0.{head}" for head in range(heads)}
    picture(page, f"{name}-{lang}-alignment")

    to(page, "decoding", "&t=1")
    page.wait_for_selector(".row li .num")
    rows = page.locator(".row li .num").all_inner_texts()
    assert sum(map(float, rows)) == pytest.approx(1.0, abs=0.1)
    assert {"en": "no mask", "zh": "没有掩码"}[lang] in page.locator(".note.other").inner_text()
    assert page.locator(".check.bad").count() == 0
    page.locator(".note.other").scroll_into_view_if_needed()
    picture(page, f"{name}-{lang}-decoding")

    to(page, "hand", "&lesson=real")
    if name != "fed":
        page.wait_for_selector(".badge.good")  # the page computes what the model computed
    else:
        page.wait_for_selector(".notice-text")
        assert "additive" in page.locator(".notice-text").inner_text()
    picture(page, f"{name}-{lang}-hand")


@pytest.mark.parametrize("lang", LANGS)
def test_a_convolutional_model_is_seen_layer_by_layer(lang: str, open_page: Open, explorer: Explorer) -> None:
    page = open_page(lang=lang)
    run = ask(page, SENTENCE, "convolutional")
    manifest = explorer.get(f"/runs/{run}")
    assert manifest["model"]["family"] == "convolutional" and manifest["model"]["stacks"][0]["layers"] == 3
    to(page, "overview", "&box=encoder_conv")
    boxes = page.locator("[data-box]").evaluate_all("all => all.map((one) => one.dataset.box)")
    assert {"encoder_conv", "decoder_conv", "cross_attn", "src_position"} <= set(boxes)
    picture(page, f"convolutional-{lang}-overview")
    to(page, "attention", "&l=2&q=1")
    page.wait_for_selector(".bars")
    assert page.locator(".stack").count() == 1 and page.locator(".stack .layer").count() == 3
    picture(page, f"convolutional-{lang}-attention")
    to(page, "alignment")
    until(page, "document.querySelector('.picture')?.getAttribute('aria-busy') === 'false'")
    to(page, "decoding", "&t=1")
    page.wait_for_selector(".row li .num")
    assert {"en": "no mask", "zh": "没有掩码"}[lang] in page.locator(".note.other").inner_text()
    assert page.locator(".check.bad").count() == 0
    to(page, "hand", "&lesson=real&l=1&h=1")
    page.wait_for_selector(".badge.good")  # values are made of more than keys are, and the page knows of what
    picture(page, f"convolutional-{lang}-hand")


@pytest.mark.parametrize("lang", LANGS)
def test_a_model_without_attention_says_so_where_attention_would_be(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/attention", lang=lang)
    page.wait_for_selector(".heads")
    run = ask(page, SENTENCE, "without")  # a model with attention gives way to one without, in the view itself
    assert explorer.get(f"/runs/{run}")["model"]["stacks"] == []
    said = {"en": "no attention", "zh": "没有注意力"}[lang]
    for view in ("attention", "alignment"):
        to(page, view)
        assert said in page.locator("main .workbench").inner_text()
        assert page.locator("main canvas, main table").count() == 0
        picture(page, f"without-{lang}-{view}")
    to(page, "decoding", "&t=1")
    assert said in page.locator(".away").inner_text()
    assert page.locator(".now .row").count() == 0 and page.locator(".check.bad").count() == 0
    picture(page, f"without-{lang}-decoding")
    to(page, "hand", "&lesson=real")
    assert said in page.locator(".notice-text").inner_text()
    picture(page, f"without-{lang}-hand")
    to(page, "overview", "&box=no_attn")
    boxes = page.locator("[data-box]").evaluate_all("all => all.map((one) => one.dataset.box)")
    assert "no_attn" in boxes and "cross_attn" not in boxes
    assert said in page.locator("main").inner_text()
    picture(page, f"without-{lang}-overview")
    page.locator(".menu-button button").first.click()
    forms = page.locator("[role=menuitem]").evaluate_all("all => all.map((one) => one.firstChild.textContent)")
    assert "HTML" in forms and not {"Excel", "Pharaoh"} & set(forms)
