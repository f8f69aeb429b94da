"""A capture as one HTML file that needs no server: the page, its code and the numbers."""

import base64
import gzip
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.inspection.capture import Capture

PLACE = "<!--sightline-data-->"
"""Where the data goes in the template."""
WHOLE = 2_000_000
"""Parameters of a model whose weights are all in the file."""
ATTENTION = 4_000_000
"""Parameters of all attention together that are in the file where the others are not."""


def page(
    template: str, capture: "Capture", parameters: "dict[str, Tensor]", models: Any, code: Any, lang: str
) -> bytes:
    """The file. `models` and `code` are what the API says of them; `lang` is the language it opens in.

    Raises ConfigError if the template has no place for the data.
    """
    from safetensors.torch import save

    from sightline.inspection.pack import as_json

    if template.count(PLACE) != 1:
        raise ConfigError("The template of the one-file page, serve/static/offline.html, is damaged: give `make web`.")
    total = sum(each.numel() for each in parameters.values())
    some = {name: each for name, each in parameters.items() if total <= WHOLE or "_attn." in name or "_norm." in name}
    if sum(each.numel() for each in some.values()) > max(WHOLE, ATTENTION):
        some = {}
    tensors = {name: each.contiguous() for name, each in capture.tensors.items()}
    tensors |= {name: each.float().cpu().clone() for name, each in some.items() if name not in tensors}
    said = {"manifest": as_json(asdict(capture.manifest)), "models": as_json(models), "code": as_json(code)}
    data = base64.b64encode(gzip.compress(save(tensors, said), 1, mtime=0)).decode()
    script = f'<script type="application/octet-stream" id="sightline-data" data-lang="{lang}">{data}</script>'
    return template.replace(PLACE, script).encode()
