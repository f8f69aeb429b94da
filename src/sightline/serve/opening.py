"""What the page of the built-in model opens with, kept in a file beside it, so that its first picture does not wait for torch.

The file is a capture as `sightline inspect` makes it, of the attention weights alone, with the API's answer about the model.
It is used only beside the very model that it is of, and only until that model is loaded.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import DataError
from sightline.files import sha256, write_atomically
from sightline.inspection.pack import Array, as_json, metadata, trace_bytes, trace_from
from sightline.serve.schema import RunRequest

if TYPE_CHECKING:
    from sightline.serve.workshop import Workshop

NAME = "opening.ttrace"
FILES = ("config.toml", "tokenizer.json", "card.md", "model.safetensors")
"""Those of a bundle; `sightline.bundle` is not imported here, for its libraries would be waited for."""


@dataclass(frozen=True)
class Opening:
    """Answers of the API that are known before the model is there."""

    models: dict[str, Any]
    """Of `GET /models`."""
    asked: RunRequest
    """What the page asks for first."""
    manifest: dict[str, Any]
    """The answer to that."""
    tensors: dict[str, Array]
    """Some of those that the manifest names: the attention weights."""

    def holds(self, id: str, names: Sequence[str]) -> bool:
        """Whether these are all tensors of this capture that are here."""
        return id == self.manifest["id"] and bool(names) and all(name in self.tensors for name in names)


def read_opening(folder: Path, name: str) -> Opening | None:
    """That of the model in a folder, served under a name; None where there is none, or it is of another model or version."""
    path = folder / NAME
    try:
        data = path.read_bytes()
        said = metadata(data)
        if said["digest"] != _digest(folder) or said["version"] != version("sightline"):
            return None
        _, tensors = trace_from(data)
        models = json.loads(said["models"])
        asked = RunRequest.model_validate_json(said["asked"])
    except (OSError, DataError, KeyError, ValueError):
        return None
    if asked.model != name:
        return None
    return Opening(models, asked, json.loads(said["whole"]), tensors)


def write_opening(folder: Path, workshop: "Workshop") -> None:
    """Write that of the only model of a workshop, in whose thread this is done, into its folder."""
    asked = workshop.first_request()
    capture, _ = workshop.run(asked)
    tensors = {name: each for name, each in capture.tensors.items() if name.endswith("_attn.weights")}
    infos = {name: each for name, each in capture.manifest.tensors.items() if name in tensors}
    some = replace(capture, manifest=replace(capture.manifest, tensors=infos), tensors=tensors)
    said = {
        "digest": _digest(folder),
        "version": version("sightline"),
        "models": as_json(workshop.models()),
        "asked": asked.model_dump_json(),
        "whole": as_json(asdict(capture.manifest)),
    }
    write_atomically(folder / NAME, trace_bytes(some, said))


def _digest(folder: Path) -> str:
    """Of the files that a model is made of."""
    return " ".join(sha256(folder / name) for name in FILES)
