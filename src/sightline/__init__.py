"""Train a Transformer on your own data, see inside it, and ship it.

The public names, each imported when it is first used, so that `import sightline` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.decoding.settings import DecodingSettings as DecodingSettings
    from sightline.errors import UserError as UserError
    from sightline.models.config import TransformerConfig as TransformerConfig
    from sightline.nn.cores import AttentionCore as AttentionCore
    from sightline.nn.cores import masked_softmax as masked_softmax
    from sightline.nn.mask import Mask as Mask
    from sightline.runtime.translator import Translator as Translator
    from sightline.runtime.translator import load as load
    from sightline.training.loop import fit as fit
    from sightline.training.start import load_run as load_run

_HOME = {
    "AttentionCore": "sightline.nn.cores",
    "DecodingSettings": "sightline.decoding.settings",
    "Mask": "sightline.nn.mask",
    "TransformerConfig": "sightline.models.config",
    "Translator": "sightline.runtime.translator",
    "UserError": "sightline.errors",
    "fit": "sightline.training.loop",
    "load": "sightline.runtime.translator",
    "load_run": "sightline.training.start",
    "masked_softmax": "sightline.nn.cores",
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sightline")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sightline' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
