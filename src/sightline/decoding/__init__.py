"""The public names, each imported when it is first used: what needs no torch goes without."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.decoding.beam import beam_search as beam_search
    from sightline.decoding.ensemble import Ensemble as Ensemble
    from sightline.decoding.hypothesis import Hypothesis as Hypothesis
    from sightline.decoding.phrases import Constraint as Constraint
    from sightline.decoding.protocol import Decodable as Decodable
    from sightline.decoding.protocol import State as State
    from sightline.decoding.sampling import sample as sample
    from sightline.decoding.scoring import score as score
    from sightline.decoding.settings import DecodingSettings as DecodingSettings
    from sightline.decoding.walk import greedy as greedy

_HOME = {
    "Constraint": "sightline.decoding.phrases",
    "Decodable": "sightline.decoding.protocol",
    "DecodingSettings": "sightline.decoding.settings",
    "Ensemble": "sightline.decoding.ensemble",
    "Hypothesis": "sightline.decoding.hypothesis",
    "State": "sightline.decoding.protocol",
    "beam_search": "sightline.decoding.beam",
    "greedy": "sightline.decoding.walk",
    "sample": "sightline.decoding.sampling",
    "score": "sightline.decoding.scoring",
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'sightline.decoding' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
