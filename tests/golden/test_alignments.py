"""The golden alignments are what this version says."""

import importlib.util
import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def _writer() -> Any:
    spec = importlib.util.spec_from_file_location("write_alignments", HERE / "write_alignments.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_golden_file_is_what_is_written_today() -> None:
    writer = _writer()
    written = json.loads(writer.PATH.read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(writer.alignments())), "python tests/golden/write_alignments.py"
