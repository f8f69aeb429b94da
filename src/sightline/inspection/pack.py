"""Captures as files: safetensors, with the manifest as JSON in the metadata (`.ttrace`).

In arrays of numpy, so that a file is read and handed out without torch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sightline.errors import DataError
from sightline.files import write_atomically
from sightline.inspection.manifest import FORMAT, VERSION

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.inspection.capture import Capture

Array = np.ndarray[Any, np.dtype[Any]]
DTYPES = {"f32": np.float32, "f16": np.float16, "u8": np.uint8}
KINDS = {"F32": np.dtype("f4"), "F16": np.dtype("f2"), "U8": np.dtype("u1"), "I32": np.dtype("i4")}
LARGEST = 1 << 30
"""Bytes of a file, at most."""
LONGEST_HEADER = 64 << 20
"""Bytes of what a file says about itself, at most."""
Found = TypeVar("Found")


def chosen(tensors: Mapping[str, Found], names: Iterable[str]) -> dict[str, Found]:
    """The tensors of these names; one may end in `*`. Raises DataError, naming it, for one that nothing fits."""
    found: dict[str, Found] = {}
    for name in names:
        if name.endswith("*"):
            prefix = name[:-1]
            fitting = {each: tensor for each, tensor in tensors.items() if each.startswith(prefix)}
        else:
            fitting = {name: tensors[name]} if name in tensors else {}
        if not fitting:
            raise DataError(f"There is no tensor '{name}'.")
        found |= fitting
    return found


def as_dtype(name: str, tensor: Array, dtype: str) -> Array:
    """A tensor in f32, f16 or u8. In u8 attention weights, which are from 0 to 1, are times 255 and rounded; whole numbers
    stay as they are.

    Raises DataError where the format is unknown or cannot hold such a tensor.
    """
    if dtype not in DTYPES:
        raise DataError(f"'{dtype}' is no number format: give {', '.join(DTYPES)}.")
    if tensor.dtype.kind != "f":
        return tensor
    if dtype != "u8":
        return tensor.astype(DTYPES[dtype], copy=False)
    if not name.endswith("_attn.weights"):
        raise DataError(f"u8 is for attention weights, and '{name}' is none: give f16 or f32.")
    return (tensor * np.float32(255)).round().clip(0, 255).astype(np.uint8)


def pooled(tensor: Array, most: int) -> Array:
    """Maps [h, q, k] of at most `most` rows and columns: of the numbers that come together the largest, so that diagonals
    stay.
    """
    for axis in (1, 2):
        size = tensor.shape[axis]
        if size > most:  # number i of n is in part i * most // n
            tensor = np.maximum.reduceat(tensor, [-(-i * size // most) for i in range(most)], axis=axis)
    return tensor


def pack(tensors: Mapping[str, Array], dtype: str = "f32", pool: int | None = None) -> bytes:
    """Tensors as safetensors; `pool` is for attention weights. Raises DataError as `as_dtype`."""
    found = {
        name: each if pool is None or not name.endswith("_attn.weights") else pooled(each, pool)
        for name, each in tensors.items()
    }
    return save({name: np.ascontiguousarray(as_dtype(name, each, dtype)) for name, each in found.items()})


def arrays(tensors: "Mapping[str, Tensor]") -> dict[str, Array]:
    """Tensors of the processor as arrays on the same memory."""
    return {name: each.numpy() for name, each in tensors.items()}


def trace_bytes(capture: "Capture", more: Mapping[str, str] | None = None) -> bytes:
    """A capture as a `.ttrace` file; `more` is added to the metadata."""
    tensors = {name: np.ascontiguousarray(each) for name, each in arrays(capture.tensors).items()}
    return save(tensors, {"manifest": as_json(asdict(capture.manifest)), **(more or {})})


def write_trace(path: str | Path, capture: "Capture") -> None:
    """Write a capture, atomically. Raises UserError if it cannot be written."""
    write_atomically(Path(path), trace_bytes(capture))


def as_json(value: Any) -> str:
    """JSON without blanks, whatever the text in it: what is no text, half a pair of surrogates, is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode()


def read_trace(path: str | Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The manifest and the arrays of a `.ttrace` file. Raises DataError, naming the file and what is wrong with it."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise DataError(f"{path} has {size:,} bytes, and {LARGEST:,} are read at most: capture a shorter sentence.")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): give a file that sightline wrote.") from error
    return trace_from(data, str(path))


def trace_from(data: bytes, where: str = "the file") -> tuple[dict[str, Any], dict[str, Array]]:
    """As `read_trace`, of a file's bytes."""
    manifest = _manifest(data, where)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{where} is damaged ({error}): copy it again.") from error
    for name, info in manifest["tensors"].items():
        there = tensors.get(name)
        if there is None:
            raise DataError(f"{where} is damaged: its manifest names a tensor {name}, which is not in it.")
        if KINDS.get(info["dtype"]) != there.dtype or list(there.shape) != info["shape"]:
            is_, says = _said(there), f"{info['dtype']} {info['shape']}"
            raise DataError(f"{where} is damaged: {name} is {is_}, and its manifest says {says}.")
    return manifest, tensors


def metadata(data: bytes, where: str = "the file") -> dict[str, str]:
    """What a safetensors file says about itself. Raises DataError if it is none."""
    if len(data) < 8:
        raise DataError(f"{where} is too short to be a capture ({len(data)} bytes): it was not copied whole.")
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(LONGEST_HEADER, len(data) - 8):
        raise DataError(f"{where} is no capture, or was not copied whole: give a .ttrace file that sightline wrote.")
    try:
        header = json.loads(data[8 : 8 + length])
        found = header.get("__metadata__", {})
        if not isinstance(found, dict):
            raise TypeError("its metadata is no object")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DataError(f"{where} is damaged ({error}): copy it again.") from error
    return found


def _manifest(data: bytes, where: str) -> dict[str, Any]:
    found = metadata(data, where).get("manifest")
    if not isinstance(found, str):
        raise DataError(f"{where} holds tensors but no capture: give a .ttrace file that sightline wrote.")
    try:
        manifest = json.loads(found)
        named = manifest["format"], manifest["version"]
        described = all(
            isinstance(each, dict) and isinstance(each.get("dtype"), str) and isinstance(each.get("shape"), list)
            for each in manifest["tensors"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where} is damaged: its manifest cannot be read ({error}). Copy it again.") from error
    if named != (FORMAT, VERSION):
        raise DataError(
            f"{where} is {named[0]} version {named[1]}, and this sightline reads {FORMAT} version {VERSION}: update sightline."
        )
    if not described:
        raise DataError(f"{where} is damaged: its manifest does not describe its tensors. Copy it again.")
    return manifest


def _said(tensor: Array) -> str:
    kinds = {kind: name for name, kind in KINDS.items()}
    return f"{kinds.get(tensor.dtype, str(tensor.dtype))} {list(tensor.shape)}"
