"""The trained tensors of a bundle in torch: written, read, and filled into the modules that its settings describe."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sightline.bundle.folder import named_weights
from sightline.bundle.stored import FORMATS, Stored, readable
from sightline.files import check_free_space, write_atomically
from sightline.models.build import build_model
from sightline.models.config import ModelConfig
from sightline.models.sequence_to_sequence import AnyModel

PRECISIONS = dict(zip(FORMATS.values(), (torch.float32, torch.bfloat16, torch.float16), strict=True))


def save_weights(path: Path, model_weights: dict[str, Tensor], precision: str = "fp32") -> None:
    """Write named weights atomically, in fp32 or bf16. Raises UserError if there is no room or no permission."""
    kind = PRECISIONS[precision]
    tensors = {name: tensor.detach().to(kind).cpu().contiguous() for name, tensor in model_weights.items()}
    check_free_space(path.parent, sum(t.numel() * t.element_size() for t in tensors.values()) + (1 << 20))
    write_atomically(path, save(tensors, {"format": "pt"}))


def read_weights(path: Path) -> dict[str, Tensor]:
    """What `save_weights` wrote. Raises BundleError if it is damaged or gone."""
    with readable(path):
        return load_file(path)


def read_model(stored: Stored, config: ModelConfig, src_vocab_size: int, tgt_vocab_size: int) -> AnyModel:
    """The model that `config` describes, with the tensors of a file. Nothing is drawn from torch's generator.

    Raises ConfigError as `build_model`, BundleError if the file is damaged or gone, or does not fit.
    """
    with torch.random.fork_rng(devices=[]), _Unfilled():
        model = build_model(config, src_vocab_size, tgt_vocab_size)
    parameters = named_weights(model)
    stored.check({name: tuple(parameter.shape) for name, parameter in parameters.items()})
    for name, parameter in parameters.items():
        stored.read(name, parameter.numpy())
    return model.eval()


class _Unfilled(TorchFunctionMode):
    """Parameters are made and not drawn at random, which takes longer than reading those that replace them.

    (Not on torch's "meta" device, which costs a second: its operations import torch's compiler.)
    """

    DRAWN = (Tensor.uniform_, Tensor.normal_, nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (args[0] if args else kwargs["tensor"]) if func in self.DRAWN else func(*args, **(kwargs or {}))
