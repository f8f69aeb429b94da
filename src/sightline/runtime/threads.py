"""How many threads to compute with."""

import os
import re
import sys
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")


def processor_threads() -> int:
    """As many as torch takes: the cores that this process may use, each counted once whatever number of threads the processor
    runs on it, and at most what MKL_NUM_THREADS or else OMP_NUM_THREADS says. Where torch is loaded, it is asked.
    """
    ask = getattr(sys.modules.get("torch"), "get_num_threads", None)  # another thread may be importing it
    if ask is not None:
        return ask()
    cores = len({_core(number) for number in _allowed()})
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        asked = re.match(r"\s*(\d+)", os.environ.get(name, ""))
        if asked and int(asked[1]) > 0:
            return min(int(asked[1]), cores)
    return cores


def _allowed() -> set[int]:
    """The processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core(number: int) -> str:
    """The processors that are one core with this one, as the system lists them; a core of its own where it does not say."""
    try:
        return (TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list").read_text()
    except OSError:
        return str(number)
