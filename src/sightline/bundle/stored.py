"""The trained tensors of a bundle in their file, as safetensors lays it out, and as arrays; without torch."""

import contextlib
import json
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from sightline.errors import BundleError
from sightline.models.layout import Shape

FORMATS = {"F32": "fp32", "BF16": "bf16", "F16": "fp16"}
"""The number formats of trained tensors, as safetensors calls them and as we do."""
_READ_AS = {"F32": np.dtype("<f4"), "BF16": np.dtype("<u2"), "F16": np.dtype("<f2")}


class Stored:
    """Each tensor is read when it is asked for. (The library maps the whole file, and then it is in memory twice.)

    The file is held open, so that what is read later is what was there at first, whatever takes its name meanwhile.

    Raises BundleError if it is damaged or gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with readable(path), safe_open(path, framework="numpy") as file:
            self.shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            """Of each tensor, by its address."""
        with readable(path):
            self._file = path.open("rb", buffering=0)
            weakref.finalize(self, self._file.close)
            header = json.loads(self._file.read(int.from_bytes(self._file.read(8), "little")))
            self._start = self._file.tell()
            self._places = {name: (header[name]["dtype"], *header[name]["data_offsets"]) for name in self.shapes}
            for name, (kind, _, _) in self._places.items():
                if kind not in FORMATS:
                    raise ValueError(f"{name} is {kind}, not {', '.join(FORMATS)}")
        self._reading = threading.Lock()

    def check(self, shapes: Mapping[str, Shape]) -> None:
        """Raises BundleError if these are not the tensors that a model has."""
        if self.shapes.keys() != shapes.keys():
            odd = sorted(self.shapes.keys() ^ shapes.keys())[:3]
            raise BundleError(f"{self.path} does not fit its config.toml: {', '.join(odd)} is in only one of the two.")
        for name, shape in shapes.items():
            if self.shapes[name] != shape:
                raise BundleError(
                    f"{self.path} does not fit its config.toml: {name} is {self.shapes[name]}, not {shape}."
                )

    def read(self, name: str, to: np.ndarray | None = None) -> np.ndarray:
        """A tensor in float32, in an array of its own or in the one that is given. Raises BundleError as above."""
        found = np.empty(self.shapes[name], np.float32) if to is None else to
        kind, begin, end = self._places[name]
        raw = found if kind == "F32" else np.empty(found.shape, _READ_AS[kind])
        room, done = raw.reshape(-1).view(np.uint8).data, 0
        with readable(self.path), self._reading:
            self._file.seek(self._start + begin)
            while done < end - begin and (
                count := self._file.readinto(room[done:])
            ):  # a call of the system has a limit
                done += count
            if done != end - begin:
                raise ValueError(f"{name} is cut short")
        if kind == "BF16":  # the upper half of a float32
            np.left_shift(raw, 16, out=found.view(np.uint32), dtype=np.uint32)
        elif kind == "F16":
            found[...] = raw
        return found


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What a damaged file raises becomes a BundleError that names it."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise BundleError(f"{path} is damaged or gone ({error}). Copy it again, or train again.") from error
