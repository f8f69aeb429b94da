"""What a page opens with before torch is there: it is what the model itself says, and of no other model."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline import bundle
from sightline.inspection.pack import arrays
from sightline.serve.opening import FILES, NAME, read_opening, write_opening
from sightline.serve.workshop import BUILTIN, BUILTIN_NAME, Workshop

WITHOUT_TORCH = """
import json, sys
from fastapi.testclient import TestClient
from sightline.serve.app import create_app
from sightline.serve.workshop import Workshop
api = TestClient(create_app(Workshop()), base_url="http://127.0.0.1")
model = api.get("/api/v1/models").json()["models"][0]
asked = {"model": model["info"]["name"], "src": model["sample"]["src"], "to": model["sample"]["to"],
         "decode": {"method": "beam", "beam": 4}}
run = api.post("/api/v1/runs", json=asked).json()
names = [name for name in run["tensors"] if name.endswith("_attn.weights")]
assert api.get(f"/api/v1/runs/{run['id']}").json() == run
packs = [api.get(f"/api/v1/runs/{run['id']}/pack", params={"names": ",".join(names), "dtype": dtype}) for dtype in ("u8", "f32")]
print(json.dumps({"tokens": len(run["tgt"]["tokens"]), "bytes": [len(each.content) for each in packs if each.status_code == 200],
                  "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def workshop() -> Workshop:
    found = Workshop()
    found.opening = None
    return found


def test_that_of_the_built_in_model_is_what_it_says_today(workshop: Workshop, near: Callable[[Any, Any], bool]) -> None:
    opening = read_opening(BUILTIN, BUILTIN_NAME)
    assert opening is not None, "give `python tests/golden/write_opening.py`"
    assert opening.models == json.loads(json.dumps(workshop.models()))
    assert opening.asked == workshop.first_request()
    capture, _ = workshop.run(opening.asked)
    today = json.loads(json.dumps(asdict(capture.manifest)))
    assert near(opening.manifest, today | {"created": opening.manifest["created"]})
    assert len(opening.tensors) == 9
    live = arrays(capture.tensors)
    for name, each in opening.tensors.items():
        np.testing.assert_allclose(each, live[name], atol=1e-5, err_msg=name)


def test_the_api_answers_with_it_before_torch_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["tokens"] > 2 and len(found["bytes"]) == 2 and not found["torch"]


def test_it_is_of_that_very_model(workshop: Workshop, tmp_path: Path) -> None:
    for name in FILES:
        shutil.copy(BUILTIN / name, tmp_path / name)
    assert FILES == bundle.FILES and read_opening(tmp_path, BUILTIN_NAME) is None
    write_opening(tmp_path, workshop)
    assert read_opening(tmp_path, BUILTIN_NAME) is not None
    assert read_opening(tmp_path, "another name") is None
    (tmp_path / "card.md").write_text("another card", encoding="utf-8")
    assert read_opening(tmp_path, BUILTIN_NAME) is None


@pytest.mark.parametrize("damage", [b"", b"\x08" + bytes(40), None])
def test_one_that_is_damaged_is_passed_over(tmp_path: Path, damage: bytes | None) -> None:
    for name in FILES:
        shutil.copy(BUILTIN / name, tmp_path / name)
    (tmp_path / NAME).write_bytes((BUILTIN / NAME).read_bytes()[:-50] if damage is None else damage)
    assert read_opening(tmp_path, BUILTIN_NAME) is None
    assert Workshop([tmp_path]).opening is None


def test_it_is_put_away_once_the_model_is_there() -> None:
    found = Workshop()
    assert found.opening is not None
    found.begin().result(60)
    assert found.opening is None
    found.close()
