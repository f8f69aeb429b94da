"""Captures as files: what is written is read, and what is damaged is said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from sightline.errors import DataError
from sightline.inspection.pack import as_dtype, as_json, chosen, pack, pooled, read_trace, trace_from

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "traces"
FILES = sorted(GOLDEN.glob("*.ttrace"))
DATA = FILES[0].read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_what_it_holds(path: Path) -> None:
    manifest, tensors = read_trace(path)
    assert manifest["format"] == "ttrace" and manifest["version"] == 1
    assert manifest["tensors"].keys() == tensors.keys() == load(path.read_bytes()).keys()
    for name, info in manifest["tensors"].items():
        assert list(tensors[name].shape) == info["shape"] and len(info["axes"]) == len(info["shape"])


def altered(change: Callable[[dict], object]) -> bytes:
    """The golden file with another manifest."""
    size = int.from_bytes(DATA[:8], "little")
    header = json.loads(DATA[8 : 8 + size])
    manifest = json.loads(header["__metadata__"]["manifest"])
    change(manifest)
    header["__metadata__"]["manifest"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + DATA[8 + size :]


DAMAGED = {
    "nothing": (b"", "too short"),
    "half a length": (b"\x01\x02", "too short"),
    "no such file": (b"PK\x03\x04" * 10, "no capture"),
    "an endless header": ((1 << 60).to_bytes(8, "little") + b"{}", "no capture"),
    "cut short": (DATA[:-100], "damaged"),
    "a header that is no JSON": ((4).to_bytes(8, "little") + b"[{]}", "damaged"),
    "a header that is a list": ((2).to_bytes(8, "little") + b"[]", "damaged"),
    "a header beyond all depth": ((90_000).to_bytes(8, "little") + b"[" * 90_000, "damaged"),
    "tensors alone": (save({"a": np.zeros(1)}), "no capture"),
    "a manifest that is no JSON": (save({"a": np.zeros(1)}, {"manifest": "{"}), "manifest cannot be read"),
    "another version": (altered(lambda m: m.update(version=2)), "ttrace version 2"),
    "another format": (altered(lambda m: m.update(format="x")), "x version 1"),
    "no format": (altered(lambda m: m.pop("format")), "manifest cannot be read"),
    "tensors not described": (altered(lambda m: m["tensors"].update(memory=3)), "does not describe"),
    "a tensor too many": (
        altered(lambda m: m["tensors"].update(x={"dtype": "F32", "shape": [1], "axes": ["a"]})),
        "x, which is not in it",
    ),
    "another shape": (
        altered(lambda m: m["tensors"]["memory"].update(shape=[1, 2])),
        "its manifest says F32 \\[1, 2\\]",
    ),
    "another type": (altered(lambda m: m["tensors"]["memory"].update(dtype="F16")), "memory is F32"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_file_is_refused_and_says_why(kind: str) -> None:
    data, message = DAMAGED[kind]
    with pytest.raises(DataError, match=message):
        trace_from(data, "run.ttrace")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.ttrace cannot be read"):
        read_trace(tmp_path / "none.ttrace")


def test_u8_is_within_half_a_step_and_f16_within_its_own() -> None:
    weights = np.random.default_rng(1).random((3, 5, 7), np.float32)
    name = "encoder.0.self_attn.weights"
    u8 = load(pack({name: weights}, "u8"))[name]
    assert u8.dtype == np.uint8 and np.abs(u8 / 255 - weights).max() <= 0.5 / 255 + 1e-6
    f16 = load(pack({name: weights}, "f16"))[name]
    assert f16.dtype == np.float16 and np.abs(f16 - weights).max() < 1e-3
    np.testing.assert_array_equal(load(pack({name: weights}))[name], weights)


def test_u8_is_refused_for_what_is_no_weight_and_whole_numbers_stay() -> None:
    with pytest.raises(DataError, match="u8 is for attention weights"):
        as_dtype("memory", np.zeros(2), "u8")
    with pytest.raises(DataError, match="'f8' is no number format"):
        as_dtype("memory", np.zeros(2), "f8")
    ids = np.array([1, 2], np.int32)
    assert as_dtype("logits.topk.id", ids, "f16") is ids


@pytest.mark.parametrize(("rows", "columns"), [(10, 10), (7, 13), (5, 4), (1, 9), (128, 130)])
def test_pooling_keeps_the_largest_of_every_part(rows: int, columns: int) -> None:
    weights = np.random.default_rng(2).random((2, rows, columns), np.float32)
    small = pooled(weights, 4)
    assert small.shape == (2, min(rows, 4), min(columns, 4))
    expected = np.full(small.shape, -np.inf)
    for i in range(rows):
        for j in range(columns):
            at = (slice(None), i * min(rows, 4) // rows, j * min(columns, 4) // columns)
            expected[at] = np.maximum(expected[at], weights[:, i, j])
    np.testing.assert_array_equal(small, expected.astype(np.float32))


def test_names_may_end_in_a_star_and_unknown_ones_are_said() -> None:
    tensors = {"a.q": np.zeros(1), "a.k": np.zeros(1), "b": np.zeros(1)}
    assert list(chosen(tensors, ["a.*"])) == ["a.q", "a.k"] and list(chosen(tensors, ["b", "a.k"])) == ["b", "a.k"]
    for name in ("c", "c*", ""):
        with pytest.raises(DataError, match="There is no tensor"):
            chosen(tensors, [name])


def test_half_a_pair_of_surrogates_is_escaped() -> None:
    assert json.loads(as_json({"a": "\ud800é"})) == {"a": "\ud800é"}
    with pytest.raises(ValueError, match="JSON"):
        as_json(float("nan"))
