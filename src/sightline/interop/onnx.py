"""A bundle as ONNX: the encoder, and one step of the decoder with its caches; and a model that searches of ours can ask."""

import contextlib
import copy
import json
import logging
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.bundle import Bundle
from sightline.data.tokenizers import Tokenizer
from sightline.errors import BundleError, UserError
from sightline.files import atomic_folder
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.attention import SelfAttention
from sightline.nn.cache import BlockCache, KeyValues
from sightline.nn.cores import AttentionCore
from sightline.nn.mask import Mask
from sightline.nn.position import At, Rotary, turned

OPSET = 20
FILES = ("encoder.onnx", "decoder.onnx", "sightline.json", "sightline-tokenizer.json")
LARGEST = 2_000_000_000
"""Bytes of weights that a file of ONNX can hold itself."""


def export_onnx(bundle: Bundle, folder: Path) -> None:
    """Write `encoder.onnx` and `decoder.onnx`, in float32, for any engine that runs ONNX.

    - encoder: src [b, s] (int64 ids, padding `pad_id`) -> memory [layers, 2, b, h, s, d], the keys and values of the source for
      every layer of the decoder.
    - decoder: tokens [n], position [1, 1], exists [n, s] (src != pad_id), memory [layers, 2, n, h, s, d], past [layers, 2, n,
      h, t, d] (t = 0 at first) -> logits [n, vocab], present [layers, 2, n, h, t + 1, d], which is the next step's past.

    Raises UserError if the extra `onnx` is not installed, or the model is too large for one file.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("Writing ONNX needs the extra `onnx`: pip install 'sightline[onnx]'.") from error
    if sum(p.numel() * p.element_size() for p in bundle.model.parameters()) > LARGEST:
        raise UserError(
            f"The model has more than {LARGEST / 1e9:.0f} GB of weights, which one file of ONNX cannot hold."
        )
    model = _plain(bundle.model)
    attention = next(iter(model.decoder)).self_attn
    layers, heads, d, s, t = len(model.decoder), attention.n_kv_heads, attention.d_head, 5, 3
    src = torch.full((2, s), model.eos_id)
    memory, past = (torch.zeros(layers, 2, 2, heads, length, d) for length in (s, t))
    step = {
        "tokens": torch.full((2,), model.bos_id),
        "position": torch.tensor([[t]]),
        "exists": torch.ones(2, s, dtype=torch.bool),
        "memory": memory,
        "past": past,
    }
    content = {
        **{name: getattr(model, name) for name in ("pad_id", "bos_id", "eos_id", "max_len")},
        "decoder_layers": layers,
        "kv_heads": heads,
        "d_head": d,
    }
    with atomic_folder(folder) as partial:
        _write(_Encoder(model), {"src": src}, {"src": (0, 1)}, ["memory"], partial / "encoder.onnx")
        varying = {"tokens": (0,), "position": (), "exists": (0, 1), "memory": (2, 4), "past": (2, 4)}
        _write(_Step(model), step, varying, ["logits", "present"], partial / "decoder.onnx")
        (partial / "sightline.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        bundle.tokenizer.save(partial / "sightline-tokenizer.json")


def _write(
    module: nn.Module, given: dict[str, Tensor], varying: dict[str, tuple[int, ...]], outputs: list[str], path: Path
) -> None:
    """Trace a module with some inputs, of which some axes may have any length."""
    shapes = {name: dict.fromkeys(varying[name], torch.export.Dim.DYNAMIC) or None for name in given}
    with warnings.catch_warnings(), _quietly("torch.onnx"):
        warnings.simplefilter("ignore")  # of torch about itself
        torch.onnx.export(
            module,
            (),
            str(path),
            kwargs=given,
            input_names=list(given),
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextlib.contextmanager
def _quietly(name: str) -> Iterator[None]:
    """Without the warnings of a logger and those below it."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _plain(model: EncoderDecoder) -> EncoderDecoder:
    """A copy that computes attention as it is defined, and looks positions up in tables."""
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, AttentionCore):
            module.forward = types.MethodType(AttentionCore.forward, module)
        if isinstance(module, SelfAttention) and module.rotate is not None:
            module.rotate = _Turn(model.tgt_embed.position)
    return model


class _Turn:
    """`Rotary.rotate` where positions are numbers of the graph."""

    def __init__(self, position: nn.Module) -> None:
        assert isinstance(position, Rotary)
        self.angles = position.angles[: position.max_len]

    def __call__(self, x: Tensor, at: At) -> Tensor:
        place = torch.arange(x.shape[2], device=x.device)[None] if isinstance(at, int) else at
        return turned(x, self.angles[place][:, None])


class _Encoder(nn.Module):
    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, src: Int[Tensor, "b s"]) -> Float[Tensor, "l 2 b h s d"]:
        """Keys and values of the source, for every layer of the decoder."""
        memory = self.model.encode(src)
        found = []
        for block in self.model.decoder:
            assert block.cross_attn is not None
            held = block.cross_attn.project(memory)
            found.append(torch.stack((held.k, held.v)))
        return torch.stack(found)


class _Past:
    """A `Cache` of tensors that are given, at a position that is given."""

    def __init__(self, past: Float[Tensor, "2 n h t d"], at: Int[Tensor, "1 1"]) -> None:
        self.past, self.at = past, at

    def extend(self, new: KeyValues) -> KeyValues:
        self.past = torch.cat((self.past, torch.stack((new.k, new.v))), dim=3)
        return KeyValues(self.past[0], self.past[1])

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        self.past = self.past[:, index]


class _Step(nn.Module):
    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Int[Tensor, " n"],
        position: Int[Tensor, "1 1"],
        exists: Bool[Tensor, "n s"],
        memory: Float[Tensor, "l 2 n h s d"],
        past: Float[Tensor, "l 2 n h t d"],
    ) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, "l 2 n h u d"]]:
        """Logits for the next token of each row, and the caches with the newest one."""
        model = self.model
        caches = [BlockCache(_Past(past[layer], position)) for layer in range(len(model.decoder))]
        for layer, cache in enumerate(caches):
            cache.cross_attn.held = KeyValues(memory[layer, 0], memory[layer, 1])
        x = model.tgt_embed(tokens[:, None], position)
        x = model.decoder(
            x, Mask(at=position), x, Mask(keys=exists, at=position), caches
        )  # the memory is in the caches
        return model.head(x[:, 0]), torch.stack([cache.self_attn.past for cache in caches])  # pyright: ignore


@dataclass
class OnnxState:
    """What `OnnxModel` remembers between steps; rows are hypotheses."""

    exists: Bool[Tensor, "n s"]
    memory: Float[Tensor, "l 2 n h s d"]
    past: Float[Tensor, "l 2 n h t d"]

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        """Keep the rows named by `index`, in that order."""
        self.exists, self.memory, self.past = self.exists[index], self.memory[:, :, index], self.past[:, :, index]


class OnnxModel:
    """A `Decodable` that onnxruntime computes: what `export_onnx` wrote.

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
            self.config: dict[str, int] = json.loads((folder / "sightline.json").read_text(encoding="utf-8"))
            self.encoder, self.decoder = (
                onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
                for name in FILES[:2]
            )
            self.tokenizer = Tokenizer.load(folder / "sightline-tokenizer.json")
            self.pad_id, self.bos_id, self.eos_id, self.max_len = (
                self.config[name] for name in ("pad_id", "bos_id", "eos_id", "max_len")
            )
        except Exception as error:  # onnxruntime's own have no class in common
            raise BundleError(f"{folder} is damaged: {str(error).splitlines()[0]}. Export it again.") from error

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu")

    def start(self, src: Int[Tensor, "b s"]) -> OnnxState:
        """Encode the sources; the state has one row per source."""
        [memory] = self.encoder.run(None, {"src": src.numpy()})
        sizes = self.config["decoder_layers"], 2, len(src), self.config["kv_heads"], 0, self.config["d_head"]
        return OnnxState(src != self.pad_id, torch.from_numpy(memory), torch.zeros(sizes))

    def step(self, tokens: Int[Tensor, " n"], state: OnnxState) -> Float[Tensor, "n vocab"]:
        """Logits for the next token of each row, given its newest one (`bos_id` at first)."""
        given: dict[str, Any] = {
            "tokens": tokens,
            "position": torch.tensor([[state.past.shape[4]]]),
            "exists": state.exists,
            "memory": state.memory,
            "past": state.past,
        }
        logits, past = self.decoder.run(None, {name: each.numpy() for name, each in given.items()})
        state.past = torch.from_numpy(past)
        return torch.from_numpy(logits)
