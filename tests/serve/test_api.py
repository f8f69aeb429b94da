"""The API as a page asks it: captures, tensors, exports; every refusal with its code; and who may ask."""

import base64
import gzip
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load

from sightline.bundle import Bundle, BundleConfig, load_bundle, save_bundle
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.inspection.pack import trace_from
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.serve import exports
from sightline.serve.app import create_app
from sightline.serve.guard import POLICY
from sightline.serve.schema import BODY, Refusal
from sightline.serve.workshop import WAITING, Workshop

SMALL = {"d_model": 16, "n_heads": 4, "d_ff": 20, "n_encoder_layers": 2, "n_decoder_layers": 1, "max_len": 40}
TEXT = ["abcdefgh ab", "bad cab", "a feed bag"] * 3


def made(folder: Path, tags: tuple[str, ...] = (), **model: object) -> Path:
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=18), TEXT, TEXT, tags)
    config = TransformerConfig.model_validate({**SMALL, **model})
    torch.manual_seed(2)
    built = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    settings = DecodingSettings(max_len_ratio=1.0, max_len_extra=2)
    src, tgt = ("en", "zh") if tags else ("", "")
    save_bundle(
        folder,
        Bundle(
            BundleConfig(model=config, decoding=settings, src_lang=src, tgt_lang=tgt), built, tokenizer, "# card <b>"
        ),
    )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    base = tmp_path_factory.mktemp("models")
    return [
        made(base / "tiny"),
        made(base / "more" / "tiny", ("zh", "en"), n_kv_heads=2),
        made(base / "three", ("de", "fr", "it")),
    ]


@pytest.fixture(scope="module")
def workshop(folders: list[Path]) -> Workshop:
    return Workshop(folders)


@pytest.fixture(scope="module")
def api(workshop: Workshop) -> Iterator[TestClient]:
    with TestClient(create_app(workshop), base_url="http://127.0.0.1:8765", raise_server_exceptions=False) as client:
        yield client


def run(api: TestClient, **asked: Any) -> httpx.Response:
    return api.post(
        "/api/v1/runs", json={"model": "tiny", "src": "bad cab", "decode": {"method": "beam", "beam": 3}, **asked}
    )  # pyright: ignore[reportReturnType]


@pytest.fixture
def id(api: TestClient) -> str:
    return run(api).json()["id"]


def test_models_are_told_with_their_limits_and_a_sentence_that_they_can_translate(api: TestClient) -> None:
    found = api.get("/api/v1/models").json()
    assert [each["info"]["name"] for each in found["models"]] == ["tiny", "tiny-2", "three"]
    assert [each["languages"] for each in found["models"]] == [[], ["zh", "en"], ["de", "fr", "it"]]
    assert found["limits"] == {"src_tokens": 512, "tgt_tokens": 512, "beam": 10, "topk": 10}
    for each in found["models"]:
        sample = each["sample"]
        again = run(
            api, model=each["info"]["name"], src=sample["src"], **({"to": sample["to"]} if sample["to"] else {})
        )
        assert again.status_code == 201 and sample["src"].strip()


def test_a_run_is_made_once_and_told_again(api: TestClient) -> None:
    first = run(api, src="fab bed")
    second = run(api, src="fab bed")
    assert (first.status_code, second.status_code) == (201, 200) and first.json() == second.json()
    assert api.get(f"/api/v1/runs/{first.json()['id']}").json() == first.json()
    assert first.json()["request"]["decode"] == {"method": "beam", "beam": 3, "length_penalty": 0.6}


def test_json_is_compressed_where_that_can_be_read(api: TestClient, id: str) -> None:
    plain = api.get(f"/api/v1/runs/{id}", headers={"accept-encoding": "identity"})
    small = api.get(f"/api/v1/runs/{id}", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers and small.headers["content-encoding"] == "gzip"
    assert plain.json() == small.json()


def test_a_pack_holds_what_the_model_computed(api: TestClient, id: str, folders: list[Path]) -> None:
    reply = api.get(f"/api/v1/runs/{id}/pack", params={"names": "encoder.1.self_attn.*,memory"})
    tensors = load(reply.content)
    manifest = api.get(f"/api/v1/runs/{id}").json()
    model = load_bundle(folders[0]).model
    with torch.inference_mode():
        memory = model.encode(torch.tensor([[token["id"] for token in manifest["src"]["tokens"]]]))[0]
    assert torch.equal(tensors["memory"], memory)
    assert set(tensors) == {"memory", *(f"encoder.1.self_attn.{end}" for end in ("q", "k", "v", "z", "weights", "out"))}
    for name, tensor in tensors.items():
        assert list(tensor.shape) == manifest["tensors"][name]["shape"]


def test_packs_come_small_and_only_once(api: TestClient, id: str) -> None:
    address, asked = f"/api/v1/runs/{id}/pack", {"names": "encoder.0.self_attn.weights", "dtype": "u8", "pool": 4}
    reply = api.get(address, params=asked)
    [tensor] = load(reply.content).values()
    assert tensor.dtype == torch.uint8 and tensor.shape == (4, 4, 4)
    assert "immutable" in reply.headers["cache-control"] and "content-encoding" not in reply.headers
    again = api.get(address, params=asked, headers={"if-none-match": reply.headers["etag"]})
    assert again.status_code == 304 and not again.content
    other = api.get(address, params={**asked, "pool": 5}, headers={"if-none-match": reply.headers["etag"]})
    assert other.status_code == 200 and other.headers["etag"] != reply.headers["etag"]


def test_weights_are_given_under_every_name_they_have(api: TestClient, folders: list[Path]) -> None:
    names = "decoder.0.cross_attn.q_proj.weight,head.weight,src_embed.tokens.weight"
    found = load(api.get("/api/v1/models/tiny/weights", params={"names": names}).content)
    model = load_bundle(folders[0]).model
    assert torch.equal(found["head.weight"], model.head.weight) and torch.equal(
        found["src_embed.tokens.weight"], model.head.weight
    )
    assert torch.equal(
        found["decoder.0.cross_attn.q_proj.weight"], model.get_parameter("decoder.0.cross_attn.q_proj.weight")
    )


def test_code_is_that_of_the_model(api: TestClient) -> None:
    steps = api.get("/api/v1/models/tiny/code").json()["steps"]
    of_every = "x q k v scores scale mask softmax z concat out residual norm position embed"
    assert set(steps) == {*of_every.split(), "cross.x", "cross.q", "cross.k", "cross.v"}
    assert all(step["lines"] and step["line"] > 0 for step in steps.values())


BAD: dict[str, tuple[int, str, dict[str, Any]]] = {
    "no such model": (404, "unknown_model", {"model": "x"}),
    "no text": (422, "src_empty", {"src": " "}),
    "an empty translation": (422, "tgt_empty", {"tgt": " "}),
    "a long text": (413, "src_too_long", {"src": "ab " * 40}),
    "a long translation": (413, "tgt_too_long", {"tgt": "ab " * 40}),
    "a longer text": (422, "invalid_request", {"src": "a" * 20_001}),
    "a wide beam": (422, "beam_out_of_range", {"decode": {"method": "beam", "beam": 11}}),
    "no beam": (422, "invalid_request", {"decode": {"method": "beam", "beam": 0}}),
    "a beam of text": (422, "invalid_request", {"decode": {"method": "beam", "beam": "4"}}),
    "another method": (422, "invalid_request", {"decode": {"method": "sample", "beam": 1}}),
    "a field too many": (422, "invalid_request", {"capture": True}),
    "a token that is none": (422, "unknown_token", {"decode": {"method": "beam", "beam": 2, "prefix": [18]}}),
    "a translation and its beginning": (
        422,
        "prefix_with_tgt",
        {"tgt": "a", "decode": {"method": "beam", "beam": 2, "prefix": [5]}},
    ),
    "too much of a beginning": (413, "tgt_too_long", {"decode": {"method": "beam", "beam": 2, "prefix": [5] * 600}}),
    "another language": (422, "unknown_language", {"to": "fr"}),
    "another language of several": (422, "unknown_language", {"model": "tiny-2", "to": "fr"}),
    "no language of three": (422, "language_needed", {"model": "three"}),
    "half a character": (422, "invalid_request", {"src": "a\ud800"}),
    "an endless penalty": (422, "invalid_request", {"decode": {"method": "beam", "beam": 2, "length_penalty": 1e9}}),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_request_that_cannot_be_done_is_refused_with_its_code(api: TestClient, kind: str) -> None:
    status, code, asked = BAD[kind]
    body = json.dumps({"model": "tiny", "src": "bad cab", **asked})
    reply = api.post("/api/v1/runs", content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text
    assert all(isinstance(value, str | int | float) for value in reply.json()["error"]["args"].values())


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/api/v1/runs/0123456789abcdef", 404, "run_gone"),
        ("/api/v1/runs/0123456789abcdef/pack?names=a", 404, "run_gone"),
        ("/api/v1/export/0123456789abcdef?form=html", 404, "run_gone"),
        ("/api/v1/runs/{id}/pack?names=nothing", 404, "unknown_tensor"),
        ("/api/v1/runs/{id}/pack", 422, "invalid_request"),
        ("/api/v1/runs/{id}/pack?names=memory&dtype=u8", 422, "bad_dtype"),
        ("/api/v1/runs/{id}/pack?names=memory&dtype=f8", 422, "bad_dtype"),
        ("/api/v1/runs/{id}/pack?names=memory&pool=0", 422, "invalid_request"),
        ("/api/v1/models/x/code", 404, "unknown_model"),
        ("/api/v1/models/tiny/weights?names=x", 404, "unknown_tensor"),
        ("/api/v1/export/{id}?form=pdf", 422, "invalid_request"),
        ("/api/v1/export/{id}?form=xlsx&lang=fr", 422, "invalid_request"),
        ("/api/v1/export/{id}?form=xlsx&stack=encoder.cross_attn", 422, "unknown_stack"),
        ("/api/v1/export/{id}?form=xlsx&head=4", 422, "unknown_head"),
        ("/api/v1/export/{id}?form=pharaoh&layer=1", 422, "unknown_head"),
        ("/api/v1/nothing", 404, "not_found"),
        ("/nothing.js", 404, "not_found"),
        ("/offline.html", 404, "not_found"),
        ("/..%2fapp.py", 404, "not_found"),
        ("/%2e%2e/app.py", 404, "not_found"),
        ("/api/v1/runs", 405, "method_not_allowed"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(api: TestClient, id: str, address: str, status: int, code: str) -> None:
    reply = api.get(address.format(id=id))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), reply.text


def test_what_is_no_json_is_refused(api: TestClient) -> None:
    for body, kind in (("{", "application/json"), ('{"model": "tiny", "src": "a"}', "text/plain")):
        reply = api.post("/api/v1/runs", content=body, headers={"content-type": kind})
        assert reply.status_code in (400, 422) and reply.json()["error"]["code"] in ("not_json", "invalid_request")


def test_a_large_body_is_not_read(api: TestClient) -> None:
    reply = api.post("/api/v1/runs", content=b"a" * (BODY + 1), headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")
    pieces = (b"a" * 1000 for _ in range(BODY // 1000 + 2))  # without a length
    reply = api.post("/api/v1/runs", content=pieces, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example:80", ""]
)
def test_a_name_that_somebody_else_points_here_is_refused(api: TestClient, host: str) -> None:
    reply = api.get("/api/v1/models", headers={"host": host})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_host")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9", "LOCALHOST", "[::1]:8765"])
def test_this_machine_s_own_names_are_answered(api: TestClient, host: str) -> None:
    assert api.get("/api/v1/models", headers={"host": host}).status_code == 200


def test_another_site_s_page_is_refused(api: TestClient) -> None:
    asked = {"model": "tiny", "src": "a"}
    for origin in ("https://evil.example", "null"):
        reply = api.post("/api/v1/runs", json=asked, headers={"origin": origin})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_origin")
    assert api.post("/api/v1/runs", json=asked, headers={"origin": "http://127.0.0.1:8765"}).status_code in (200, 201)


@pytest.mark.parametrize("address", ["/", "/api/v1/models", "/api/v1/nothing"])
def test_every_answer_says_what_a_browser_may_do_with_it(api: TestClient, address: str) -> None:
    headers = api.get(address).headers
    assert headers["content-security-policy"] == POLICY and "unsafe" not in POLICY and "default-src 'self'" in POLICY
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"


def test_a_page_that_was_not_built_says_how_to(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.serve.routes.page.STATIC", tmp_path)
    reply = api.get("/")
    assert reply.status_code == 503 and "make web" in reply.text
    (tmp_path / "index.html").write_text("<p>built</p>")
    (tmp_path / "app.js").write_text("1")
    page, script = api.get("/"), api.get("/app.js")
    assert page.text == "<p>built</p>" and page.headers["content-type"].startswith("text/html")
    assert script.headers["content-type"].startswith("text/javascript")
    assert api.get("/app.js", headers={"if-none-match": script.headers["etag"]}).status_code == 304


def test_a_capture_leaves_as_a_file_and_is_read_again(api: TestClient, id: str) -> None:
    reply = api.get(f"/api/v1/export/{id}", params={"form": "ttrace"})
    manifest, tensors = trace_from(reply.content)
    assert manifest == api.get(f"/api/v1/runs/{id}").json() and "memory" in tensors
    assert f'filename="sightline-{id}.ttrace"' in reply.headers["content-disposition"]


def test_word_links_are_in_pharaoh_s_format_and_within_the_words(api: TestClient) -> None:
    manifest = run(api, src="bad cab fed").json()
    for place in ({}, {"layer": 0}, {"layer": 0, "head": 3}):
        text = api.get(f"/api/v1/export/{manifest['id']}", params={"form": "pharaoh", **place}).text
        assert re.fullmatch(r"(\d+-\d+( \d+-\d+)*)?\n", text)
        links = [tuple(map(int, link.split("-"))) for link in text.split()]
        assert all(s < len(manifest["src"]["words"]) and t < len(manifest["tgt"]["words"]) for s, t in links)
        assert {t for _, t in links} == set(range(len(manifest["tgt"]["words"])))


def in_page(text: str) -> bytes:
    """The safetensors file in a page: its bytes lie by their place in groups of four."""
    found = re.search(r'id="sightline-data" data-lang="\w+">([A-Za-z0-9+/=]+)</script>', text)
    assert found is not None
    data = gzip.decompress(base64.b64decode(found[1]))
    groups = len(data) // 4
    joined = bytearray(data)
    for place in range(4):
        joined[place : 4 * groups : 4] = data[place * groups : (place + 1) * groups]
    return bytes(joined)


def test_a_page_holds_as_much_as_is_asked_for_and_what_is_printed_stays_exact(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offline.html").write_text("<body><!--sightline-data--></body>")
    monkeypatch.setattr(exports, "STATIC", tmp_path)
    id = run(api, src="bad cab fed bag").json()["id"]
    whole = load(api.get(f"/api/v1/runs/{id}/pack", params={"names": "*"}).content)
    weights = load(api.get("/api/v1/models/tiny/weights", params={"names": "*"}).content)
    held: dict[str, dict[str, torch.Tensor]] = {}
    for level in ("view", "run", "model"):
        data = in_page(api.get(f"/api/v1/export/{id}", params={"form": "html", "data": level}).text)
        trace_from(data)
        held[level] = load(data)
    assert set(held["view"]) == {name for name in whole if name.endswith("_attn.weights")}
    assert set(whole) < set(held["run"]) < set(held["model"]) and set(held["model"]) == set(whole) | set(weights)
    assert {name for name in set(held["run"]) - set(whole) if "_attn." not in name and "_norm." not in name} == set()
    for tensors in held.values():
        for name, each in tensors.items():
            exact = whole[name] if name in whole else weights[name]
            if each.dtype == torch.float16:
                assert name.rpartition(".")[2] not in ("q", "k", "v", "z", "weights", "out", "resid_pre", "resid_mid")
                assert name in whole and name != "memory"
                torch.testing.assert_close(each.float(), exact, atol=1e-6, rtol=1e-3)
            else:
                assert torch.equal(each, exact), name
    assert held["run"]["encoder.0.ffn.pre"].dtype == torch.float16


def test_a_number_too_large_for_half_precision_stays_as_it_is(
    api: TestClient, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offline.html").write_text("<body><!--sightline-data--></body>")
    monkeypatch.setattr(exports, "STATIC", tmp_path)
    id = run(api, src="fed bad").json()["id"]
    workshop.capture(id).tensors["encoder.0.ffn.pre"][0, 0] = 1e6
    held = load(in_page(api.get(f"/api/v1/export/{id}", params={"form": "html"}).text))
    assert held["encoder.0.ffn.pre"].dtype == torch.float32 and held["encoder.0.ffn.pre"][0, 0] == 1e6
    assert held["encoder.0.ffn.post"].dtype == torch.float16


def test_a_whole_model_goes_into_a_page_only_if_it_is_small(
    api: TestClient, id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.serve.offline.WHOLE", 100)
    reply = api.get(f"/api/v1/export/{id}", params={"form": "html", "data": "model"})
    assert (reply.status_code, reply.json()["error"]["code"]) in ((413, "model_too_large"), (404, "page_not_built"))
    assert reply.status_code == 404 or reply.json()["error"]["args"]["limit"] == 100


def test_head_is_answered_as_get_without_the_body(api: TestClient, id: str) -> None:
    for address in ("/api/v1/models", f"/api/v1/runs/{id}", f"/api/v1/runs/{id}/pack?names=memory", "/nothing.js"):
        whole, head = api.get(address), api.head(address)
        assert head.status_code == whole.status_code and head.content == b""
        for name in ("content-type", "content-length", "content-security-policy"):
            assert head.headers[name] == whole.headers[name]
    assert api.head("/api/v1/runs").status_code == 405


def test_every_refusal_has_a_sentence_on_the_page_in_both_languages() -> None:
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs/reference/ttrace.md").read_text("utf-8").partition("| status | codes |")[2]
    codes = set(re.findall(r"`(\w+)`", table.partition("\n\n")[0]))
    assert {"src_empty", "model_too_large", "internal"} < codes
    for lang in ("en", "zh-CN"):
        texts = json.loads((root / f"web/src/i18n/{lang}.json").read_text("utf-8"))
        assert [code for code in sorted(codes) if f"error.{code}" not in texts] == []


def test_the_one_file_page_holds_everything_and_no_text_ends_its_script(
    api: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offline.html").write_text("<html><body><!--sightline-data--><script>1</script></body></html>")
    monkeypatch.setattr(exports, "STATIC", tmp_path)
    hostile = "a</script><script>P=1</script>"
    id = run(api, src=hostile, tgt="</script>").json()["id"]
    text = api.get(f"/api/v1/export/{id}", params={"form": "html", "lang": "zh"}).text
    assert text.count("</script>") == 2 and "P=1" not in text and 'data-lang="zh"' in text
    data = in_page(text)
    manifest, tensors = trace_from(data)
    said = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert manifest["src"]["text"] == hostile and "steps" in json.loads(said["code"])
    [model] = json.loads(said["models"])["models"]
    assert model["info"]["name"] == "tiny" and "decoder.0.cross_attn.o_proj.weight" in tensors and "memory" in tensors


def test_a_damaged_template_is_said(api: TestClient, id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "STATIC", tmp_path)
    reply = api.get(f"/api/v1/export/{id}", params={"form": "html"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "page_not_built")
    (tmp_path / "offline.html").write_text("<html></html>")
    reply = api.get(f"/api/v1/export/{id}", params={"form": "html"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "refused") and "make web" in reply.text


def test_old_captures_go_where_there_is_no_room(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.serve.workshop.HELD", 100_000)
    with TestClient(create_app(Workshop(folders[:1])), base_url="http://localhost") as api:
        ids = [run(api, src="bad" + "a" * i).json()["id"] for i in range(12)]
        states = [api.get(f"/api/v1/runs/{id}").status_code for id in ids]
    assert states[0] == 404 and states[-1] == 200 and states == sorted(states, reverse=True)


def test_too_many_who_wait_are_refused(folders: list[Path]) -> None:
    workshop, go = Workshop(folders[:1]), threading.Event()
    waiting = [workshop.submit(go.wait, 30) for _ in range(WAITING)]
    with pytest.raises(Refusal) as error:
        workshop.submit(go.wait, 30)
    assert (error.value.status, error.value.code) == (409, "busy")
    go.set()
    assert all(each.result(30) for each in waiting)
    assert workshop.submit(go.wait, 1).result(30)
    workshop.close()


def test_want_of_memory_is_refused_and_a_fault_of_ours_is_told(
    api: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, status, code in ((MemoryError(), 413, "out_of_memory"), (ZeroDivisionError("x"), 500, "internal")):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Workshop, "models", fail)
        reply = api.get("/api/v1/models")
        assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_built_in_model_opens_with_a_real_sentence() -> None:
    with TestClient(create_app(Workshop()), base_url="http://127.0.0.1") as api:
        [model] = api.get("/api/v1/models").json()["models"]
        sample = model["sample"]
        assert sample == {"src": "I love you.", "to": "zh"}
        found = api.post("/api/v1/runs", json={"model": model["info"]["name"], **sample}).json()
    assert found["translation"] == "我爱你。" and found["tgt"]["lang"] == "zh"
    assert io.StringIO(model["card"]).readline().strip()
