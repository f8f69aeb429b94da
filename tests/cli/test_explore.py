"""`sightline explore` and `sightline inspect`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from sightline.cli.explore import HOST, listen
from sightline.errors import UserError
from sightline.inspection.pack import read_trace


def test_inspect_prints_what_the_heads_do_and_writes_every_form(sightline, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    plain = sightline("inspect", "a b c", "--model", trained)
    assert plain.status == 0 and "heads do something that has a name" in plain.out
    for name in ("run.ttrace", "links.pharaoh", "sheet.xlsx"):
        result = sightline("inspect", "a b c", "--model", trained, "--out", tmp_path / name)
        assert result.status == 0 and f"Written: {tmp_path / name}" in result.out, result.err
    manifest, _ = read_trace(tmp_path / "run.ttrace")
    assert manifest["request"]["src"] == "a b c" and plain.out.startswith(manifest["translation"])
    assert (tmp_path / "sheet.xlsx").read_bytes()[:2] == b"PK"


def test_inspect_shows_recurrent_models_and_says_what_they_have_not(sightline, recurrent, tmp_path: Path) -> None:
    asking, bare = recurrent("dot"), recurrent("none")
    plain = sightline("inspect", "a b c", "--model", asking)
    assert plain.status == 0 and "of 1 heads do something that has a name" in plain.out, plain.err
    for name in ("run.ttrace", "links.pharaoh", "sheet.xlsx"):
        result = sightline("inspect", "a b c", "--model", asking, "--out", name)
        assert result.status == 0, result.err
    assert read_trace("run.ttrace")[0]["model"]["family"] == "recurrent"
    said = sightline("inspect", "a b c", "--model", bare)
    assert said.status == 0 and "no attention" in said.out
    assert sightline("inspect", "a b c", "--model", bare, "--out", "bare.ttrace").status == 0
    assert read_trace("bare.ttrace")[0]["heads"] == []
    for name in ("links.pharaoh", "sheet.xlsx"):
        refused = sightline("inspect", "a b c", "--model", bare, "--out", f"bare-{name}")
        assert refused.status == 2 and "no attention" in refused.err and not Path(f"bare-{name}").exists()
    wrong = sightline("inspect", "a", "--model", asking, "--out", "s.xlsx", "--stack", "encoder.self_attn")
    assert wrong.status == 2 and "this model has decoder.cross_attn" in wrong.err


def test_inspect_writes_a_page_or_says_that_it_was_not_built(
    sightline, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightline.serve.exports.STATIC", tmp_path)
    command = ["inspect", "a b c", "--model", trained, "--out", "page.html", "--lang", "zh"]
    missing = sightline(*command)
    assert missing.status == 2 and "make web" in missing.err and not Path("page.html").exists()
    (tmp_path / "offline.html").write_text("<body><!--sightline-data--></body>")
    result = sightline(*command)
    assert result.status == 0, result.err
    assert 'id="sightline-data" data-lang="zh"' in Path("page.html").read_text()


def test_inspect_takes_a_given_translation_and_a_greedy_search(sightline, trained: Path) -> None:
    for more, method in ((["--tgt", "b"], "forced"), (["--beam", "1"], "greedy")):
        result = sightline("inspect", "a b", "--model", trained, "--out", "run.ttrace", *more)
        assert result.status == 0, result.err
        assert read_trace("run.ttrace")[0]["decode"]["method"] == method


def test_inspect_makes_a_folder_and_says_so_whatever_the_case_of_the_ending(sightline, trained: Path) -> None:
    first = sightline("inspect", "a b c", "--model", trained, "--out", "new/deep/RUN.TTRACE")
    assert first.status == 0 and f"Made the folder {Path('new/deep')}\n" in first.out, first.err
    again = sightline("inspect", "a b c", "--model", trained, "--out", "new/deep/links.Pharaoh")
    assert again.status == 0 and "Made" not in again.out
    assert read_trace("new/deep/RUN.TTRACE")[0]["request"]["src"] == "a b c"
    size = Path("new/deep/links.Pharaoh").stat().st_size
    assert size < 1000 and f"({size} bytes)" in again.out


def test_layers_and_heads_are_counted_from_one_when_a_person_says_or_reads_them(sightline, trained: Path) -> None:
    command = ("inspect", "a b c", "--model", trained, "--out", "s.xlsx", "--stack", "decoder.cross_attn")
    assert sightline(*command, "--layer", "1", "--head", "1").status == 0
    with zipfile.ZipFile("s.xlsx") as book:
        assert "Layer 1, head 1 of decoder.cross_attn" in book.read("xl/sharedStrings.xml").decode()
    assert sightline(*command, "--layer", "0").status == 2
    printed = re.findall(r"layer (\d+) head (\d+)", sightline("inspect", "a b c", "--model", trained).out)
    assert all(int(layer) >= 1 and int(head) >= 1 for layer, head in printed)


def test_a_large_page_is_warned_of(sightline, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "offline.html").write_text("<body><!--sightline-data--></body>")
    monkeypatch.setattr("sightline.serve.exports.STATIC", tmp_path)
    monkeypatch.setattr("sightline.cli.inspect.LARGE", 1000)
    for level, advice in (("run", "--data view"), ("view", "shorter sentence.")):
        result = sightline("inspect", "a b c", "--model", trained, "--out", "page.html", "--data", level)
        assert result.status == 0 and result.err.startswith("warning: page.html has ") and advice in result.err


BAD = {
    "no such folder": (["a", "--model", "nowhere"], ["no model folder nowhere"]),
    "an unknown ending": (["a", "--out", "run.txt"], ["--out run.txt", ".ttrace", ".xlsx"]),
    "no ending": (["a", "--out", "run"], ["--out run", ".html"]),
    "another language": (["a", "--model", "{run}", "--to", "xx"], ["does not translate to 'xx'"]),
    "a language of the page": (["a", "--lang", "fr"], ["--lang fr", "en or zh"]),
    "no text": ([" ", "--model", "{run}"], ["no text"]),
    "a long text": (["a b " * 9000], ["36,000 characters"]),
    "many tokens": (["a b c " * 60, "--model", "{run}"], ["tokens", "shorter"]),
    "no such head": (
        ["a", "--model", "{run}", "--out", "s.xlsx", "--head", "99"],
        ["encoder.self_attn", "head 99", "from 1"],
    ),
    "no such stack": (
        ["a", "--model", "{run}", "--out", "s.xlsx", "--stack", "x"],
        ["--stack x", "encoder.self_attn, decoder.self_attn"],
    ),
    "no such layer": (
        ["a", "--model", "{run}", "--out", "a.pharaoh", "--layer", "9"],
        ["decoder.cross_attn has no layer 9"],
    ),
    "no text of any kind": (["a \udcff", "--model", "{run}"], ["no UTF-8"]),
    "a language that cannot be one": (["a", "--model", "{run}", "--to", "z" * 50], ["--to", "zh"]),
    "a folder as the file": (["a", "--model", "{run}", "--out", "there.html"], ["there.html is a folder"]),
    "another amount of data": (["a", "--out", "a.html", "--data", "all"], ["--data all", "view, run, model"]),
    "a folder that is not there": (["a", "--model", "{run}", "--out", "no/where/run.ttrace"], ["no/where"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_inspect_refuses_in_one_paragraph(sightline, run: Path, kind: str) -> None:
    arguments, names = BAD[kind]
    if kind == "a folder that is not there":
        Path("no").write_text("a file")
    if kind == "a folder as the file":
        Path("there.html").mkdir()
    result = sightline("inspect", *(word.replace("{run}", str(run)) for word in arguments))
    message = result.err.strip()
    assert (
        result.status == 2 and message.startswith("error: ") and "\n" not in message and "Traceback" not in message
    ), result
    assert all(name in message for name in names), message


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["nowhere"], ["nowhere is no folder"]),
        (["."], ["has no config.toml"]),
        (["--lang", "fr"], ["--lang fr"]),
    ],
)
def test_explore_refuses_before_it_serves(sightline, arguments: list[str], names: list[str]) -> None:
    result = sightline("explore", "--no-open", *arguments)
    assert result.status == 2 and all(name in result.err for name in names) and "http" not in result.out


def test_a_damaged_model_ends_the_page_and_says_why(sightline, run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"x")
    result = sightline("explore", "--no-open", "--port", "18765", run)
    assert result.status == 2 and "model.safetensors is damaged" in result.err and "Traceback" not in result.err


@pytest.mark.parametrize("module", ["uvicorn", "xlsxwriter"])
def test_a_missing_extra_is_named(sightline, run: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    command = ["explore", "--no-open"] if module == "uvicorn" else ["inspect", "a", "--model", run, "--out", "s.xlsx"]
    result = sightline(*command)
    assert result.status == 2 and "pip install 'sightline[explore]'" in result.err


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with listen(port) as found:
            assert found.getsockname()[1] > port


def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.cli.explore.TRIED", 0)
    with pytest.raises(UserError, match="--port"):
        listen(20_000)


@pytest.mark.e2e
def test_a_page_is_served_and_ctrl_c_ends_it_quietly(run: Path) -> None:
    """Started as a person starts it."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sightline", "explore", "--no-open", "--port", str(port), "--lang", "zh", str(run)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[0]
        assert address == f"http://{HOST}:{port}/#/v1/overview?lang=zh"
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/v1/models", timeout=120) as reply:
            [model] = json.load(reply)["models"]
        asked = {"model": model["info"]["name"], "src": "a b c"}
        request = urllib.request.Request(
            f"http://{HOST}:{port}/api/v1/runs", json.dumps(asked).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert reply.status == 201 and json.load(reply)["request"]["src"] == "a b c"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read().strip() == ""
