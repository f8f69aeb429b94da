"""The golden captures are what this version writes."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sightline.inspection.pack import metadata, read_trace, trace_from

HERE = Path(__file__).resolve().parent


def _writer() -> Any:
    spec = importlib.util.spec_from_file_location("write_traces", HERE / "write_traces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer = _writer()


def near(a: Any, b: Any) -> bool:
    """Equal, but for the last digits of numbers."""
    if isinstance(a, float) or isinstance(b, float):
        return a == pytest.approx(b, abs=2e-5)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(near(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(near, a, b))
    return a == b


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_a_golden_file_is_what_is_written_today(variant: str) -> None:
    path = writer.FOLDER / f"{variant}.ttrace"
    data = writer.file_of(variant)
    manifest, tensors = read_trace(path)
    today, again = trace_from(data)
    for known in (manifest, today):
        del known["checks"], known["tool"]
        # Of the machine's own rounding: which digits the weights have is said by the tensors below.
        del known["id"], known["model"]["weights_sha256"]
    assert near(manifest, today)
    assert near(json.loads(metadata(path.read_bytes())["greedy"]), json.loads(metadata(data)["greedy"]))
    assert tensors.keys() == again.keys()
    for name in tensors:
        torch.testing.assert_close(again[name], tensors[name], atol=2e-5, rtol=1e-4, msg=name)


def test_there_is_a_file_for_each_and_no_other_and_they_are_small() -> None:
    files = {path.stem: path.stat().st_size for path in writer.FOLDER.iterdir()}
    assert files.keys() == writer.VARIANTS.keys() == writer.SEEDS.keys()
    assert max(files.values()) < 90_000 and sum(files.values()) < 420_000
