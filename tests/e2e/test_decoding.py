"""The decoding view: every step as the search told it, its tree, its ranking, another word forced, and draws."""

import json
import math
import re
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect
from safetensors.torch import load
from tests.e2e.conftest import LANGS, TINY, Explorer, Open, ask, parameter, run_of, until

from sightline.decoding.sampling import candidates
from sightline.decoding.settings import DecodingSettings

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

HELLO = {"en": "I love her.", "zh": "我爱你。"}
"""Sentences that are not the one that the page opens with."""
MINUS = str.maketrans({"−": "-"})


def number(text: str) -> float:
    """A number as the view writes it, "4·10⁻⁵" too."""
    text = text.strip().translate(MINUS)
    found = re.fullmatch(r"(\d+)·10(\S+)", text)
    if found:
        return int(found[1]) * 10.0 ** int(found[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
    return float(text)


def shown(p: float) -> Any:
    """What a probability is as it is shown: three digits, or one in a power of ten."""
    return pytest.approx(p, abs=5.1e-4) if p >= 5e-4 else pytest.approx(p, rel=0.5)


def path_of(decode: dict[str, Any], node: int) -> list[int]:
    found = []
    while node >= 0:
        found.append(node)
        node = decode["nodes"][node]["parent"]
    return found[::-1]


def result_of(decode: dict[str, Any]) -> dict[str, Any]:
    return decode["finished"][decode["chosen"]]


def requests_of(page: Page) -> list[str]:
    """What the page asks the server's API for from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    return asked


@pytest.mark.parametrize("lang", LANGS)
def test_every_step_as_the_search_told_it(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding", lang=lang)
    run = ask(page, HELLO[lang])
    manifest = explorer.get(f"/runs/{run}")
    decode = manifest["decode"]
    assert (decode["method"], decode["beam"]) == ("beam", 4)
    path = path_of(decode, result_of(decode)["node"])

    frames = page.locator(".film .label").all_inner_texts()
    assert frames == [
        manifest["tgt"]["tokens"][0]["piece"],
        *(label["text"] or label["piece"] for label in manifest["labels"]),
    ]
    expect(page.get_by_role("button", name=re.compile("First step|第一步"))).to_be_disabled()
    weights = explorer.tensors(run, "decoder.2.cross_attn.weights")["decoder.2.cross_attn.weights"]

    total = 0.0
    for t in range(1, len(path)):
        if t > 1:
            page.keyboard.press(".")
        assert parameter(page, "t") == (str(t) if t > 1 else None)
        live = next(one for one in decode["steps"][t - 1]["live"] if one["node"] == path[t - 1])
        lines = page.locator(".bars li[data-token]")
        assert [int(one.get_attribute("data-token") or 0) for one in lines.all()] == [one["id"] for one in live["topk"]]
        seen = [number(text) for text in page.locator(".bars li[data-token] .num:not(.lp)").all_inner_texts()]
        assert seen == [shown(math.exp(one["lp"])) for one in live["topk"]]
        assert number(page.locator(".bars .rest .num").first.inner_text()) == shown(live["rest"])
        assert page.locator(".bars [data-sum]").inner_text() == "1.00"
        chosen = page.locator(".bars .chosen")
        assert chosen.count() == 1
        assert chosen.get_attribute("data-token") == str(decode["nodes"][path[t]]["token"])

        # The mean of the last layer's heads, words joined of their tokens.
        row = weights[:, t - 1].mean(0)
        tokens = manifest["src"]["tokens"]
        groups: dict[object, float] = {}
        for i, token in enumerate(tokens):
            key = token["word"] if token["word"] >= 0 else f"special {i}"
            groups[key] = groups.get(key, 0.0) + float(row[i])
        words = [float(text) for text in page.locator(".row .num").all_inner_texts()]
        assert words == [pytest.approx(value, abs=5.1e-3) for value in groups.values()]
        assert sum(groups.values()) == pytest.approx(1.0, abs=1e-5)

        total += decode["nodes"][path[t]]["lp"]
        assert float(page.locator(".so-far").get_attribute("data-sum") or 0) == pytest.approx(total, abs=1e-5)
        expect(page.locator('.film [aria-current="step"]')).to_contain_text(frames[t])
    expect(page.locator('[aria-live="polite"]')).to_contain_text(frames[-1])

    page.keyboard.press("Home")
    page.keyboard.press("Space")
    until(page, f"new URLSearchParams(location.hash.split('?')[1]).get('t') === '{len(path) - 1}'", 30)
    page.keyboard.press(",")
    assert parameter(page, "t") == str(len(path) - 2)


@pytest.mark.parametrize("lang", LANGS)
def test_the_tree_holds_the_whole_search_and_a_click_or_enter_follows_a_hypothesis(
    lang: str, open_page: Open, explorer: Explorer
):
    page = open_page("#/v1/decoding?mode=table", lang=lang)
    run = ask(page, HELLO[lang])
    decode = explorer.get(f"/runs/{run}")["decode"]
    rows = page.locator(".search tbody tr")
    assert rows.count() == len(decode["nodes"]) - 1
    words = {"live": "kept in the beam", "pruned": "dropped", "finished": "ended here"}
    if lang == "zh":
        words = {"live": "留在束里", "pruned": "被剪掉", "finished": "到此结束"}
    for row, node in zip(rows.all(), decode["nodes"][1:], strict=True):
        step, _, _, p, _, cum, state = row.locator("td").all_inner_texts()
        assert (int(step), state) == (node["t"], words[node["state"]])
        assert number(p) == shown(math.exp(node["lp"]))
        assert number(cum) == pytest.approx(node["cum"], abs=5.1e-4)
    live = [sum(node["t"] == t and node["state"] == "live" for node in decode["nodes"]) for t in range(1, 4)]
    assert live == [4, 4, 4]

    page.keyboard.press("m")
    tree = page.get_by_role("tree")
    assert tree.get_by_role("treeitem").count() == sum(node["t"] == 1 for node in decode["nodes"])
    best = path_of(decode, result_of(decode)["node"])
    other = decode["finished"][1]
    parted = next(t for t, node in enumerate(path_of(decode, other["node"])) if best[t] != node)
    first = path_of(decode, other["node"])[parted]
    for _ in range(parted - 1):
        page.keyboard.press(".")
    tree.locator('[tabindex="0"]').focus()
    order = [int(one.get_attribute("data-node") or 0) for one in tree.get_by_role("treeitem").all()]
    here = int(tree.locator('[tabindex="0"]').get_attribute("data-node") or 0)
    steps = order.index(first) - order.index(here)
    for _ in range(abs(steps)):
        page.keyboard.press("ArrowDown" if steps > 0 else "ArrowUp")
    canvas = page.locator('canvas[data-kind="tree"]')
    canvas.scroll_into_view_if_needed()
    ring, box = page.locator(".tree .ring").bounding_box(), canvas.bounding_box()
    page.keyboard.press("Enter")
    assert parameter(page, "n") == f"{run[:4]}.{other['node']}"
    frames = page.locator(".film button .label").all_inner_texts()
    assert len(frames) == len(path_of(decode, other["node"])) - 1
    expect(page.get_by_text(re.compile("another hypothesis|另一个候选译文"))).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert parameter(page, "n") is None

    # The same by the mouse: the place of the ring is where the node is drawn.
    assert ring and box
    canvas.click(
        position={"x": ring["x"] - box["x"] + ring["width"] / 2, "y": ring["y"] - box["y"] + ring["height"] / 2}
    )
    assert parameter(page, "n") == f"{run[:4]}.{other['node']}"
    address = page.evaluate("location.hash")
    page.reload()
    page.wait_for_selector(".film")
    assert page.evaluate("location.hash") == address
    assert page.locator(".film button .label").all_inner_texts() == frames


@pytest.mark.parametrize("lang", LANGS)
def test_moving_alpha_ranks_what_ended_anew_without_a_request(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding", lang=lang)
    run = ask(page, "I don't like to go out when it rains ." if lang == "en" else "我不喜欢在下雨天出门。")
    decode = explorer.get(f"/runs/{run}")["decode"]
    rows = page.locator(".below tbody tr")
    scores = [float(one.get_attribute("data-score") or 0) for one in rows.all()]
    assert scores == [pytest.approx(one["score"], abs=1e-6) for one in decode["finished"][:4]]
    assert [int(one.get_attribute("data-node") or 0) for one in rows.all()] == [
        one["node"] for one in decode["finished"][:4]
    ]

    page.wait_for_load_state("networkidle")
    asked = requests_of(page)
    page.get_by_role("button", name=re.compile("Show all|显示全部")).click()
    ended = decode["finished"]
    assert rows.count() == len(ended) > 4
    slider = page.get_by_role("slider")
    for norm, alpha in (("average", 0.0), ("average", -1.0), ("average", 2.0), ("wu", 2.0), ("wu", 0.6)):
        page.get_by_role(
            "radio", name={"average": re.compile(r"^(length|长度)\^α"), "wu": re.compile(r"\(5\+")}[norm]
        ).click()
        slider.fill(str(alpha))
        settings = DecodingSettings.model_validate({"length_norm": norm, "length_penalty": alpha})
        by_score = [(one["lp"] / settings.norm(len(one["tokens"]) + 1), one["node"]) for one in ended]
        expected = sorted(by_score, key=lambda pair: -pair[0])
        assert [int(one.get_attribute("data-node") or 0) for one in rows.all()] == [node for _, node in expected]
        seen = [float(one.get_attribute("data-score") or 0) for one in rows.all()]
        assert seen == [pytest.approx(score, abs=1e-5) for score, _ in expected]
        last = [number(row.locator("td").last.inner_text()) for row in rows.all()]
        assert last == [pytest.approx(score, abs=6e-4) for score, _ in expected]
    assert [parameter(page, name) for name in ("a", "norm")] == ["0.6", "wu"]
    page.get_by_role("button", name=re.compile("Back to α|回到 α")).click()
    assert [int(one.get_attribute("data-node") or 0) for one in rows.all()][:4] == [
        one["node"] for one in decode["finished"][:4]
    ]
    assert asked == []

    slider.fill("0")
    page.get_by_role("button", name=re.compile("Search with α = 0.00|用 α = 0.00")).click()
    until(page, f"!location.hash.includes('run={run}')")
    again = explorer.get(f"/runs/{run_of(page)}")
    assert again["request"]["decode"]["length_penalty"] == 0
    page.go_back()
    until(page, f"location.hash.includes('run={run}')")


@pytest.mark.parametrize("lang", LANGS)
def test_another_word_is_forced_and_the_run_before_comes_back(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding", lang=lang)
    run = ask(page, HELLO[lang])
    before = explorer.get(f"/runs/{run}")
    path = path_of(before["decode"], result_of(before["decode"])["node"])
    page.keyboard.press(".")
    live = next(one for one in before["decode"]["steps"][1]["live"] if one["node"] == path[1])
    second = next(one for one in live["topk"] if one["id"] != before["decode"]["nodes"][path[2]]["token"])
    page.locator(f'.bars li[data-token="{second["id"]}"] button').click()
    until(page, f"!location.hash.includes('run={run}')")
    page.wait_for_selector(".progress", state="detached")

    now = explorer.get(f"/runs/{run_of(page)}")
    prefix = [before["decode"]["nodes"][path[1]]["token"], second["id"]]
    assert now["request"]["decode"]["prefix"] == prefix
    assert [label["id"] for label in now["labels"]][:2] == prefix
    assert parameter(page, "t") == "2"
    expect(page.locator('.film [aria-current="step"] .label')).to_have_text(now["labels"][1]["text"])
    assert page.locator(".film .forced").count() == 2
    compare = page.locator(".compare")
    for one in (before, now):
        texts = [row.inner_text().translate(MINUS) for row in compare.locator("tbody tr").all()]
        assert any(f"{result_of(one['decode'])['lp']:.3f}" in text for text in texts)
    assert "".join(compare.locator("tbody td.text").nth(1).inner_text().split()) == "".join(now["translation"].split())
    assert compare.locator("ins").count() > 0

    page.go_back()
    until(page, f"location.hash.includes('run={run}')")
    expect(page.locator(".compare")).to_have_count(0)
    page.go_forward()
    expect(page.locator(".compare")).to_be_visible()
    compare.get_by_role("button").click()
    until(page, f"location.hash.includes('run={run}')")


def test_step_by_step_is_what_one_pass_gives(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding")
    run = ask(page, "The cat sat.")
    error = explorer.get(f"/runs/{run}")["checks"]["incremental_err"]
    assert float(page.locator(".check").get_attribute("data-err") or 1) == pytest.approx(error, rel=1e-9)
    assert error <= 1e-5
    digits, power = f"{error:.1e}".split("e")
    expect(page.locator(".check")).to_contain_text(f"{digits}·10{int(power)}".replace("-", "−"))
    expect(page.locator(".check")).to_contain_text("✓")


def test_greedy_and_long_searches_of_another_model(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding")
    run = ask(page, "a dog runs", model=TINY)
    page.locator(".beam select").select_option("1")
    page.get_by_role("button", name="Run").click()
    until(page, f"!location.hash.includes('run={run}')")
    expect(page.locator(".method")).to_contain_text("Greedy")
    assert page.locator(".below tbody tr").count() == 1

    run = run_of(page)
    page.locator(".beam select").select_option("10")
    page.locator(".sentence").fill("a dog runs . the cat sat , " * 6)
    page.locator(".sentence").press("Enter")
    until(page, f"!location.hash.includes('run={run}')")
    page.wait_for_selector(".progress", state="detached")
    decode = explorer.get(f"/runs/{run_of(page)}")["decode"]
    assert len(decode["nodes"]) > 1500
    page.keyboard.press("End")
    canvas = page.locator('canvas[data-kind="tree"]')
    assert canvas.evaluate(
        "canvas => canvas.width / devicePixelRatio <= canvas.parentElement.parentElement.clientWidth + 1"
    )
    assert page.locator(".tree").evaluate("tree => tree.scrollWidth > 3 * tree.clientWidth && tree.scrollLeft > 0")
    assert page.evaluate("document.querySelectorAll('*').length") < 3000


def test_exports_hold_the_tree_and_the_numbers(open_page: Open, explorer: Explorer, tmp_path: Path):
    page = open_page("#/v1/decoding?t=2")
    run = ask(page, HELLO["en"])
    decode = explorer.get(f"/runs/{run}")["decode"]

    def exported(name: str) -> Path:
        page.get_by_role("button", name="Export").click()
        with page.expect_download() as download:
            page.get_by_role("menuitem", name=name).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        return path

    svg = ET.parse(exported("SVG")).getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert len(svg.findall(f"{space}g")) == len(decode["nodes"])
    texts = [text.text for text in svg.iter(f"{space}text")]
    assert all(decode["nodes"][node]["text"] in texts for node in path_of(decode, result_of(decode)["node"]))
    assert exported("PNG 2×").read_bytes()[:4] == b"\x89PNG"
    told = json.loads(exported("JSON").read_text(encoding="utf-8"))
    assert (told["run"], told["step"]) == (run, 2)
    assert math.fsum(one["p"] for one in told["candidates"]) + told["rest"] == pytest.approx(1.0, abs=1e-6)
    assert sum(told["cross_attention"]["weights"]) == pytest.approx(1.0, abs=1e-5)
    table = exported("CSV").read_text(encoding="utf-8-sig").splitlines()
    assert len(table) == len(decode["nodes"]) + 1


def test_a_link_with_a_forced_word_opens_where_the_run_before_is_gone(open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding")
    free = explorer.get(f"/runs/{ask(page, HELLO['en'])}")
    body = {**free["request"], "decode": {**free["request"]["decode"], "prefix": [free["decode"]["nodes"][2]["token"]]}}
    request = urllib.request.Request(
        f"{explorer.base}api/v1/runs", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        forced = json.load(reply)
    page.goto(f"{explorer.base}#/v1/decoding?run={forced['id']}")
    page.reload()
    before = page.locator(".compare tbody td.text").first
    expect(before).to_be_visible(timeout=20_000)
    assert "".join(before.inner_text().split()) == free["translation"]


@pytest.mark.parametrize("lang", LANGS)
def test_what_is_drawn_from_is_what_the_product_draws_from(lang: str, open_page: Open, explorer: Explorer):
    page = open_page("#/v1/decoding", lang=lang)
    run = ask(page, HELLO[lang])
    page.keyboard.press(".")
    manifest = explorer.get(f"/runs/{run}")
    hidden = explorer.tensors(run, "hidden")["hidden"][1]
    with urllib.request.urlopen(
        f"{explorer.base}api/v1/models/{manifest['model']['name']}/weights?names=head.*"
    ) as reply:
        logits = torch.nn.functional.linear(hidden, load(reply.read())["head.weight"])
    page.locator(".sampling summary").click()
    sliders = page.locator(".sampling input[type=range]")
    for temperature, k, p in ((1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 20, 1.0), (1.5, 50, 0.8), (3.0, 0, 0.5)):
        sliders.nth(0).fill(str(temperature))
        sliders.nth(1).fill(str([1, 2, 3, 5, 10, 20, 50, 100, 0].index(k)))
        sliders.nth(2).fill(str(p))
        settings = DecodingSettings.model_validate({"sample": True, "temperature": temperature, "top_k": k, "top_p": p})
        weights = candidates(torch.log_softmax(logits, 0)[None], settings)[0]
        weights /= weights.sum()
        expect(page.locator(".sampling [data-left]")).to_have_attribute("data-left", str(int((weights > 0).sum())))
        bars = page.locator(".bars li[data-token]").all()
        for bar in bars:
            token = int(bar.get_attribute("data-token") or 0)
            assert float(bar.get_attribute("data-p") or 0) == pytest.approx(float(weights[token]), abs=2e-5)
        shown_ids = [int(bar.get_attribute("data-token") or 0) for bar in bars]
        rest = 1 - float(weights[shown_ids].sum())
        assert float(page.locator(".bars .rest").get_attribute("data-p") or 0) == pytest.approx(rest, abs=5e-5)
        assert page.locator(".bars [data-sum]").inner_text() == "1.00"
    assert float(page.locator(".sampling [data-err]").get_attribute("data-err") or 1) < 1e-4

    # A draw is the token at which the running sum passes u, and its seed makes it again.
    sliders.nth(1).fill("3")
    sliders.nth(2).fill("1")
    page.get_by_role("button", name=re.compile("Draw a token|抽一个词元")).click()
    settings = DecodingSettings.model_validate({"sample": True, "temperature": 3.0, "top_k": 5})
    weights = candidates(torch.log_softmax(logits, 0)[None], settings)[0]
    order = weights.argsort(descending=True, stable=True)[:5]
    found = page.locator(".sampling .drawn")
    for seed in range(1, 8):
        page.locator(".sampling input[type=number]").fill(str(seed))
        page.keyboard.press("Tab")
        u = float(found.get_attribute("data-u") or 2)
        running = (weights[order] / weights[order].sum()).cumsum(0)
        assert int(found.get_attribute("data-token") or 0) == int(order[int((running <= u).sum())])
        if found.get_by_role("button").count():
            break
    address = page.evaluate("location.hash")
    token = int(found.get_attribute("data-token") or 0)
    page.reload()
    expect(page.locator(".sampling .drawn")).to_have_attribute("data-token", str(token))
    assert page.evaluate("location.hash") == address
    page.locator(".sampling .drawn").get_by_role("button").click()
    until(page, f"!location.hash.includes('run={run}')")
    assert explorer.get(f"/runs/{run_of(page)}")["labels"][1]["id"] == token
