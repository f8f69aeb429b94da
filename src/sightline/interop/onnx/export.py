"""A bundle as ONNX: the encoder, and one step of the decoder with what it remembers."""

import contextlib
import copy
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sightline.bundle import Bundle
from sightline.errors import ConfigError, UserError
from sightline.files import atomic_folder
from sightline.interop.onnx.convolutional import convolutional
from sightline.interop.onnx.graphs import Graphs, as_defined
from sightline.interop.onnx.recurrent import recurrent
from sightline.interop.onnx.transformer import transformer
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig

FAMILIES: dict[type[ModelConfig], Callable[[Any], Graphs]] = {
    TransformerConfig: transformer,
    RecurrentConfig: recurrent,
    ConvolutionalConfig: convolutional,
}
"""What makes the graphs of a model, which is then theirs alone."""
OPSET = 20
LARGEST = 2_000_000_000
"""Bytes of weights that a file of ONNX can hold itself."""
STEPS = 3
"""Steps taken before one is traced: torch takes lengths of 0 and 1 for fixed."""


def export_onnx(bundle: Bundle, folder: Path) -> None:
    """Write `encoder.onnx` and `decoder.onnx`, in float32, for any engine that runs ONNX.

    - encoder: src [b, s] (int64 ids, padding `pad_id`) -> what each step takes, by name
    - decoder: tokens [n] (`bos_id` at first), position [1, 1] (0 at first), exists [n, s] (src != pad_id), what the encoder
      gave -> logits [n, vocab], and what takes the place of some of it at the next step

    Of a Transformer the encoder gives memory [layers, 2, b, h, s, d], the keys and values of the source for every layer of the
    decoder, and past [layers, 2, b, h, 0, d]; the next step's past is present [layers, 2, n, h, t + 1, d]. Of a recurrent model:
    states [b, p], the next of which is new_states, and, with attention, memory [2, b, h, s, d]. Of a convolutional model: memory
    [layers, 2, b, h, s, d], and past [layers, b, w, m], the last inputs of every layer, one fewer than its kernel sees; the next
    of which is present. `sightline.json` has the ids, and of all that is kept between steps the axis of its rows and the output
    that is the next step's.

    Raises UserError if the extra `onnx` is not installed, or the model is too large for one file; ConfigError for a family that
    has no graphs.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("Writing ONNX needs the extra `onnx`: pip install 'sightline[onnx]'.") from error
    config = bundle.config.model
    if type(config) not in FAMILIES:
        raise ConfigError(f"model.kind = {config.kind!r} cannot be written as ONNX yet.")
    if sum(p.numel() * p.element_size() for p in bundle.model.parameters()) > LARGEST:
        raise UserError(
            f"The model has more than {LARGEST / 1e9:.0f} GB of weights, which one file of ONNX cannot hold."
        )
    model = copy.deepcopy(bundle.model).cpu().eval().requires_grad_(False)
    as_defined(model)
    graphs = FAMILIES[type(config)](model)
    src = torch.full((2, 5), model.eos_id)
    step = _later_step(graphs, src, model.bos_id)
    varying = {"tokens": (0,), "position": (), "exists": (0, 1)}
    varying |= {name: (each.rows, *each.lengths) for name, each in graphs.kept.items()}
    content = {
        **{name: getattr(model, name) for name in ("pad_id", "bos_id", "eos_id", "max_len")},
        "kept": {name: asdict(each) for name, each in graphs.kept.items()},
    }
    with atomic_folder(folder) as partial:
        _write(graphs.encoder, {"src": src}, {"src": (0, 1)}, list(graphs.kept), partial / "encoder.onnx")
        _write(graphs.step, step, varying, ["logits", *graphs.changed.values()], partial / "decoder.onnx")
        (partial / "sightline.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        bundle.tokenizer.save(partial / "sightline-tokenizer.json")


def _later_step(graphs: Graphs, src: Tensor, token: int) -> dict[str, Tensor]:
    """What a step is given after `STEPS` others."""
    found = graphs.encoder(src)
    kept = dict(zip(graphs.kept, found if isinstance(found, tuple) else (found,), strict=True))
    always = {"tokens": torch.full((len(src),), token), "exists": torch.ones_like(src, dtype=torch.bool)}
    for place in range(STEPS):
        _, *changed = graphs.step(position=torch.tensor([[place]]), **always, **kept)
        kept |= dict(zip(graphs.changed, changed, strict=True))
    return {"tokens": always["tokens"], "position": torch.tensor([[STEPS]]), "exists": always["exists"], **kept}


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
