import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the models here are tiny, and the tests run side by side


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """A run settles the process (threads, tiny numbers flushed to zero); the next test finds it as it was."""
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 0
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
        if threads:
            torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def near() -> Callable[[Any, Any], bool]:
    """Whether two values of JSON are equal but for the last digits of numbers."""

    def near(a: Any, b: Any) -> bool:
        if isinstance(a, float) or isinstance(b, float):
            return a == pytest.approx(b, abs=2e-5)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(near(a[key], b[key]) for key in a)
        if isinstance(a, list):
            return len(a) == len(b) and all(map(near, a, b))
        return a == b

    return near
