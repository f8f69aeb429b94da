"""A model that searches of ours can ask, computed by onnxruntime."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.data.tokenizers import Tokenizer
from sightline.errors import BundleError, UserError
from sightline.interop.onnx.graphs import Kept

FILES = ("encoder.onnx", "decoder.onnx", "sightline.json", "sightline-tokenizer.json")
ERRORS_ONLY = 3
"""Of onnxruntime's messages; its warnings speak of what torch wrote and it removes."""


@dataclass
class OnnxState:
    """What `OnnxModel` remembers between steps, by name, and which axis of each tensor counts its rows, which are hypotheses."""

    tensors: dict[str, Tensor]
    rows: dict[str, int]
    length: int = 0
    """Tokens written so far."""

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order."""
        self.tensors = {name: each.index_select(self.rows[name], index) for name, each in self.tensors.items()}


class OnnxModel:
    """A `Decodable` that onnxruntime computes: what `export_onnx` wrote, of any family.

    Raises BundleError if the folder holds no such model, UserError if the extra `onnx` is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise BundleError(
                f"{folder} has no {', '.join(missing)}: give a folder that `sightline export onnx` wrote."
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("Running ONNX needs the extra `onnx`: pip install 'sightline[onnx]'.") from error
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = ERRORS_ONLY
            config = json.loads((folder / "sightline.json").read_text(encoding="utf-8"))
            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
                for name in FILES[:2]
            )
            self.tokenizer = Tokenizer.load(folder / "sightline-tokenizer.json")
            self.pad_id, self.bos_id, self.eos_id, self.max_len = (
                int(config[name]) for name in ("pad_id", "bos_id", "eos_id", "max_len")
            )
            self.kept = {name: Kept(**each) for name, each in config["kept"].items()}
        except Exception as error:  # onnxruntime's own have no class in common
            raise BundleError(f"{folder} is damaged: {str(error).splitlines()[0]}. Export it again.") from error
        self.rows = {"exists": 0, **{name: each.rows for name, each in self.kept.items()}}
        self.after = {name: each.after for name, each in self.kept.items() if each.after is not None}
        self.asked = {each.name for each in self.decoder.get_inputs()}

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu")

    def start(self, src: Int[Tensor, "b s"]) -> OnnxState:
        """Encode the sources; the state has one row per source."""
        found = self.encoder.run(list(self.kept), {"src": src.numpy()})
        kept = {name: torch.from_numpy(each) for name, each in zip(self.kept, found, strict=True)}
        return OnnxState({"exists": src != self.pad_id, **kept}, self.rows)

    def step(self, tokens: Int[Tensor, " n"], state: OnnxState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        given = {"tokens": tokens, "position": torch.tensor([[state.length]]), **state.tensors}
        feed: dict[str, Any] = {name: each.numpy() for name, each in given.items() if name in self.asked}
        logits, *changed = self.decoder.run(["logits", *self.after.values()], feed)
        state.tensors.update({name: torch.from_numpy(each) for name, each in zip(self.after, changed, strict=True)})
        state.length += 1
        return torch.from_numpy(logits)
