"""The golden captures are what this version writes."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightline.inspection.pack import metadata, read_trace, trace_from

HERE = Path(__file__).resolve().parent


def _writer() -> Any:
    spec = importlib.util.spec_from_file_location("write_traces", HERE / "write_traces.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


writer = _writer()


@pytest.mark.parametrize("variant", writer.VARIANTS)
def test_a_golden_file_is_what_is_written_today(variant: str, near: Callable[[Any, Any], bool]) -> None:
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
        np.testing.assert_allclose(again[name], tensors[name], atol=2e-5, rtol=1e-4, err_msg=name)


def test_there_is_a_file_for_each_and_no_other_and_they_are_small() -> None:
    files = {path.stem: path.stat().st_size for path in writer.FOLDER.iterdir()}
    assert files.keys() == writer.VARIANTS.keys() == writer.SEEDS.keys()
    assert max(files.values()) < 90_000 and sum(files.values()) < 450_000
