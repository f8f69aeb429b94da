"""Where the library for this processor lies."""

import ctypes
from pathlib import Path

KINDS = ("avx512", "avx2")
"""The fastest first."""


def library() -> Path | None:
    """The fastest library that this processor can run; None if it can run none of them."""
    for kind in KINDS:
        path = Path(__file__).with_name(f"{kind}.so")
        if path.exists() and ctypes.CDLL(str(path)).sightline_runs_here():
            return path
    return None
