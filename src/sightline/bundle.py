"""A trained thing in one folder: `config.toml`, `model.safetensors`, `tokenizer.json`, `card.md`."""

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sightline.config import Settings, dump_toml, parse, read_toml
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.protocol import DecodingSettings
from sightline.errors import BundleError, UserError
from sightline.files import check_free_space, write_atomically
from sightline.metrics.translation import MetricSettings
from sightline.models.build import ModelConfig, build_model
from sightline.models.encoder_decoder import EncoderDecoder

FORMAT = 1
FILES = ("config.toml", "tokenizer.json", "card.md", "model.safetensors")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
STORED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
"""The same, as safetensors calls them."""


class BundleConfig(Settings):
    """What `config.toml` holds: everything needed to build the model and to translate as it was validated."""

    format: int = FORMAT
    """Version of this layout."""
    name: str = ""
    """The recipe it came from."""
    task: str = "translation"
    """What it was trained for."""
    src_lang: str = ""
    """Language of the source, if known."""
    tgt_lang: str = ""
    """Language of the target, if known."""
    model: ModelConfig = ModelConfig()
    """The model."""
    decoding: DecodingSettings = DecodingSettings()
    """How translations are searched for."""
    metric: MetricSettings = MetricSettings()
    """How they are scored."""


@dataclass
class Bundle:
    """A loaded bundle; the model is in evaluation mode, float32, on the CPU."""

    config: BundleConfig
    model: EncoderDecoder
    tokenizer: Tokenizer
    card: str


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Every trained tensor once, by its address; shared ones under their first address."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def save_weights(path: Path, model_weights: dict[str, Tensor], precision: str = "fp32") -> None:
    """Write named weights atomically, in fp32 or bf16. Raises UserError if there is no room or no permission."""
    kind = PRECISIONS[precision]
    tensors = {name: tensor.detach().to(kind).cpu().contiguous() for name, tensor in model_weights.items()}
    check_free_space(path.parent, sum(t.numel() * t.element_size() for t in tensors.values()) + (1 << 20))
    write_atomically(path, save(tensors, {"format": "pt"}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """What `save_weights` wrote. Raises BundleError if it is damaged or gone."""
    with _readable(path):
        return load_file(path)


def save_bundle(folder: str | Path, bundle: Bundle, precision: str = "fp32") -> None:
    """Write a bundle; each file whole or not at all, the weights last.

    Raises UserError if the folder cannot be written.
    """
    folder = Path(folder)
    write_atomically(folder / "config.toml", dump_toml(bundle.config))
    write_atomically(folder / "tokenizer.json", bundle.tokenizer.to_json())
    write_atomically(folder / "card.md", bundle.card)
    save_weights(folder / "model.safetensors", named_weights(bundle.model), precision)


def load_bundle(folder: str | Path) -> Bundle:
    """Read and check a bundle.

    Raises BundleError naming the file that is missing or damaged, the setting or the tensor that does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError(f"There is no model folder {folder}. Give a folder that `sightline train` wrote.")
    missing = [name for name in FILES if name != "card.md" and not (folder / name).is_file()]
    if missing:
        unfinished = (folder / "recipe.toml").is_file()
        hint = "its training has not reached the first validation" if unfinished else "it is not a sightline model"
        raise BundleError(f"{folder} has no {', '.join(missing)}: {hint}. Give a folder that `sightline train` wrote.")
    document = read_toml(folder / "config.toml")
    if document.tree.get("format", FORMAT) != FORMAT:
        raise BundleError(
            f"{folder} was written in format {document.tree['format']}, and this version reads format {FORMAT}. "
            "Use the version of sightline that wrote it."
        )
    config = parse(BundleConfig, document)
    try:
        tokenizer = Tokenizer.load(folder / "tokenizer.json")
    except (UserError, ValueError, KeyError) as error:
        raise BundleError(f"{folder / 'tokenizer.json'} is damaged: {error}") from error
    sizes = tokenizer.src_vocab_size, tokenizer.tgt_vocab_size
    shapes = _shapes(folder / "model.safetensors")
    _check_size(config.model, shapes, folder / "model.safetensors")
    with torch.random.fork_rng(devices=[]), _Unfilled():
        model = build_model(config.model, *sizes)
    _check_shapes(model, shapes, folder / "model.safetensors")
    _fill(model, folder / "model.safetensors")
    card = folder / "card.md"
    return Bundle(
        config, model.eval(), tokenizer, card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    )


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with _readable(path), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _check_size(config: ModelConfig, found: dict[str, tuple[int, ...]], path: Path) -> None:
    """No memory is taken for a config that describes a far larger model than the file holds.

    (Not by a model on torch's "meta" device, which costs a second: its operations import torch's compiler.)
    """
    d, layers = config.d_model, config.n_encoder_layers + config.n_decoder_layers
    least = layers * (2 * d * d + 2 * d * config.d_ff)  # queries and outputs at least, and the feed-forward network
    there = sum(math.prod(shape) for shape in found.values())
    if least > 2 * there:
        raise BundleError(
            f"{path} does not fit its config.toml: that describes {least:,} parameters or more, and the file has {there:,}."
        )


def _check_shapes(model: nn.Module, found: dict[str, tuple[int, ...]], path: Path) -> None:
    parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if found.keys() != parameters.keys():
        odd = sorted(found.keys() ^ parameters.keys())[:3]
        raise BundleError(f"{path} does not fit its config.toml: {', '.join(odd)} is in only one of the two.")
    for name, shape in parameters.items():
        if found[name] != shape:
            raise BundleError(f"{path} does not fit its config.toml: {name} is {found[name]}, not {shape}.")


class _Unfilled(TorchFunctionMode):
    """Parameters are made and not drawn at random, which takes longer than reading those that replace them."""

    DRAWN = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (args[0] if args else kwargs["tensor"]) if func in self.DRAWN else func(*args, **(kwargs or {}))


@torch.no_grad()
def _fill(model: nn.Module, path: Path) -> None:
    """Read each weight to where it belongs. (The library maps the whole file, and then it is in memory twice.)"""
    with _readable(path), path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, parameter in model.named_parameters():
            dtype, (begin, end) = header[name]["dtype"], header[name]["data_offsets"]
            if dtype not in STORED:
                raise ValueError(f"{name} is {dtype}, not {', '.join(STORED)}")
            same = STORED[dtype] is torch.float32
            there = parameter.data if same else torch.empty(parameter.shape, dtype=STORED[dtype])
            file.seek(start + begin)
            if file.readinto(there.view(-1).view(torch.uint8).numpy().data) != end - begin:
                raise ValueError(f"{name} is cut short")
            if not same:
                parameter.copy_(there)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise BundleError(f"{path} is damaged or gone ({error}). Copy it again, or train again.") from error
