"""A capture as one HTML file that needs no server: the page, its code and the numbers."""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.inspection.capture import Capture

PLACE = "<!--sightline-data-->"
"""Where the data goes in the template."""
LEVELS = ("view", "run", "model")
"""How much a file holds: the attention weights of every head; all of the run, with the parameters of attention; or with all
parameters of the model.
"""
WHOLE = 2_000_000
"""Parameters of a model whose weights can all be in the file."""
ATTENTION = 4_000_000
"""Parameters of all attention together that are in the file of a run; where there are more, none is."""
PRINTED = ("q", "k", "v", "z", "weights", "out", "resid_pre", "resid_mid", "memory")
"""How the addresses end of what the page prints numbers of, or computes them from: these stay exact."""


def page(
    template: str,
    capture: "Capture",
    parameters: "dict[str, Tensor]",
    models: Any,
    code: Any,
    lang: str,
    level: str = "run",
) -> bytes:
    """The file. `models` and `code` are what the API says of them; `lang` is the language it opens in; `level` one of `LEVELS`.

    Raises ConfigError if the template has no place for the data.
    """
    from safetensors.torch import save

    from sightline.inspection.hooks import tensor_info
    from sightline.inspection.pack import as_json

    if template.count(PLACE) != 1:
        raise ConfigError("The template of the one-file page, serve/static/offline.html, is damaged: give `make web`.")
    tensors = _of_run(capture.tensors, level)
    infos = {name: tensor_info(name, each) for name, each in tensors.items()}
    manifest = replace(capture.manifest, tensors=infos)
    tensors |= {name: each for name, each in _of_model(parameters, level).items() if name not in tensors}
    said = {"manifest": as_json(asdict(manifest)), "models": as_json(models), "code": as_json(code)}
    data = base64.b64encode(gzip.compress(planes(save(tensors, said)), 1, mtime=0)).decode()
    script = f'<script type="application/octet-stream" id="sightline-data" data-lang="{lang}">{data}</script>'
    return template.replace(PLACE, script).encode()


def planes(data: bytes) -> bytes:
    """First the first bytes of all groups of four, then the second ones and so on; what is left over at the end stays. So gzip
    finds the like beside the like: signs and exponents, and the zeros of weights that have fewer digits.
    """
    import numpy as np

    whole = len(data) // 4 * 4
    return np.frombuffer(data[:whole], np.uint8).reshape(-1, 4).T.tobytes() + data[whole:]


def _of_run(tensors: "Mapping[str, Tensor]", level: str) -> "dict[str, Tensor]":
    """What passed through the model: numbers that no view prints in half precision, where that can hold them."""
    import torch

    found: dict[str, Tensor] = {}
    largest = torch.finfo(torch.float16).max
    for name, each in tensors.items():
        kind = name.rpartition(".")[2]
        if level == "view" and not name.endswith("_attn.weights"):
            continue
        exact = kind in PRINTED or each.dtype != torch.float32 or not bool((each.abs() <= largest).all())
        found[name] = each.contiguous() if exact else each.half().contiguous()
    return found


def _of_model(parameters: "Mapping[str, Tensor]", level: str) -> "dict[str, Tensor]":
    """The parameters that are in the file, exactly."""
    if level == "view":
        return {}
    some = {name: each for name, each in parameters.items() if level == "model" or "_attn." in name or "_norm." in name}
    if level == "run" and sum(each.numel() for each in some.values()) > ATTENTION:
        return {}
    return {name: each.float().cpu().clone() for name, each in some.items()}
