"""A trained thing in one folder: `config.toml`, `model.safetensors`, `tokenizer.json`, `card.md`."""

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.bundle.stored import Stored
from sightline.config import Settings, dump_toml, parse, read_toml
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.settings import DecodingSettings
from sightline.errors import BundleError, UserError
from sightline.files import write_atomically
from sightline.metrics.settings import MetricSettings
from sightline.models.config import AnyModelConfig, ModelConfig, TransformerConfig
from sightline.models.layout import layout, least_parameters

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sightline.models.sequence_to_sequence import AnyModel

FORMAT = 1
FILES = ("config.toml", "tokenizer.json", "card.md", "model.safetensors")


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
    model: AnyModelConfig = TransformerConfig()
    """The model."""
    decoding: DecodingSettings = DecodingSettings()
    """How translations are searched for."""
    metric: MetricSettings = MetricSettings()
    """How they are scored."""


class Bundle:
    """A trained model and all that it takes to translate with it; the model is in evaluation mode, float32, on the CPU.

    That of a folder is read when it is first asked for. Until then it is what the settings say, and `stored` are its tensors;
    from then on it is what its modules are, for they may be changed, and `stored` is None.
    """

    def __init__(self, config: BundleConfig, model: "AnyModel | Stored", tokenizer: Tokenizer, card: str) -> None:
        self.config, self.tokenizer, self.card = config, tokenizer, card
        self._model, self._reading = model, threading.Lock()

    @property
    def stored(self) -> Stored | None:
        """The tensors in their file, as long as nothing else holds them."""
        return self._model if isinstance(self._model, Stored) else None

    @property
    def model(self) -> "AnyModel":
        """The modules. Raises BundleError if their file cannot be read any more."""
        with self._reading:
            if isinstance(self._model, Stored):
                self._model = _read_model(self._model, self.config.model, self.tokenizer)
            return self._model


def _read_model(stored: Stored, config: ModelConfig, tokenizer: Tokenizer) -> "AnyModel":
    from sightline.bundle.weights import read_model

    return read_model(stored, config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size)


def named_weights(model: "nn.Module") -> "dict[str, Tensor]":
    """Every trained tensor once, by its address; shared ones under their first address."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def save_bundle(folder: str | Path, bundle: Bundle, precision: str = "fp32") -> None:
    """Write a bundle; each file whole or not at all, the weights last.

    Raises UserError if the folder cannot be written.
    """
    from sightline.bundle.weights import save_weights

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
    stored = Stored(folder / "model.safetensors")
    _check_size(config.model, stored)
    known = layout(config.model, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size)
    if known is not None:
        stored.check(known)
    model = _read_model(stored, config.model, tokenizer) if known is None else stored
    card = folder / "card.md"
    return Bundle(
        config, model, tokenizer, card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    )


def _check_size(config: ModelConfig, stored: Stored) -> None:
    """No memory is taken for a config that describes a far larger model than the file holds."""
    least = least_parameters(config)
    there = sum(math.prod(shape) for shape in stored.shapes.values())
    if least > 2 * there:
        raise BundleError(
            f"{stored.path} does not fit its config.toml: that describes {least:,} parameters or more, and the file has "
            f"{there:,}."
        )
