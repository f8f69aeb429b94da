"""Sets of the Hugging Face Hub, read from a server of our own that answers as the Hub does."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("datasets", reason="the extra [data] is not installed")

COMMIT = "a" * 40
RECORDS = [{"translation": {"en": f"dog number {n}", "zh": f"第{n}只狗"}} for n in range(200)]
TEXT = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
RECIPE = """
name = "hub"
[data]
train = {{ pairs = "{name}", format = "hub", columns = ["translation.en", "translation.zh"], src_lang = "en", tgt_lang = "zh" }}
hold_out_valid = 10
hold_out_test = 10
[tokenizer]
kind = "char"
"""


class _Hub(BaseHTTPRequestHandler):
    """One data set, `somebody/pairs`, of one file."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(f"/api/datasets/somebody/pairs/tree/{COMMIT}"):
            entries = [{"type": "file", "path": "train.jsonl", "size": len(TEXT), "oid": "b" * 40}]
            self._answer(json.dumps([] if path.endswith("/data") else entries).encode())
        elif path in ("/api/datasets/somebody/pairs", f"/api/datasets/somebody/pairs/revision/{COMMIT}"):
            about = {"_id": "1", "id": "somebody/pairs", "sha": COMMIT, "private": False, "gated": False, "tags": []}
            self._answer(json.dumps({**about, "siblings": [{"rfilename": "train.jsonl"}]}).encode())
        elif path == f"/datasets/somebody/pairs/resolve/{COMMIT}/train.jsonl":
            self._answer(TEXT)
        elif path.startswith("/datasets/somebody/pairs/"):
            self._answer(b"{}", 404, "EntryNotFound")
        else:
            self._answer(b'{"error": "Repository not found"}', 404, "RepoNotFound")

    do_HEAD = do_GET

    def _answer(self, body: bytes, status: int = 200, error: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{"c" * 40}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _prepare(name: str, hub: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "hub.toml").write_text(RECIPE.format(name=name))
    clean = {
        k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_")) and "proxy" not in k.lower()
    }
    return subprocess.run(
        [sys.executable, "-m", "sightline", "prepare", "hub.toml", "--out", "out"],
        cwd=folder,
        env={**clean, "HF_ENDPOINT": hub, "HF_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_set_of_the_hub_is_prepared(hub: str, tmp_path: Path) -> None:
    ended = _prepare("somebody/pairs", hub, tmp_path)
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "out" / "data" / "report.json").read_text())
    assert report["corpora"] == {"somebody/pairs": 200} and report["kept"] == 180


def test_a_set_that_the_hub_does_not_have_is_named(hub: str, tmp_path: Path) -> None:
    ended = _prepare("somebody/else", hub, tmp_path)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert "somebody/else cannot be read" in ended.stderr
    assert not (tmp_path / "out").exists()
