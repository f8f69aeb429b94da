import os
import sys
from collections.abc import Iterator

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
