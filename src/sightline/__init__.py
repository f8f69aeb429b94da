"""sightline: train, read and run Transformers."""

from __future__ import annotations

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sightline")
    raise AttributeError(f"module 'sightline' has no attribute {name!r}")
