"""One engine at work: it translates when it is told to, and says how long it took.

    python worker.py ENGINE SETUP.json

runs in the engine's own environment. `SETUP.json` holds the folder of the model as the engine wants it, the variant, the threads,
and the sources: texts, and these as token ids and as pieces. Each line on stdin is a JSON task; each line on stdout answers it.
"""

import importlib
import json
import resource
import sys
import time
from typing import Any, Protocol


class Engine(Protocol):
    """What a module makes of a setup: `make(setup) -> Engine`."""

    def translate(self, numbers: list[int], beam: int, batch: int) -> list[list[int] | str]:
        """Translations of the sources with these numbers, `batch` at a time: token ids without begin and end, or text."""
        ...


def peak() -> int:
    """Bytes that the process has held at most. (`ru_maxrss` begins with what the process held that started this one.)"""
    try:
        with open("/proc/self/status") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    name, setup_file = sys.argv[1:]
    with open(setup_file) as file:
        setup: dict[str, Any] = json.load(file)
    answer, sys.stdout = sys.stdout, sys.stderr
    module = importlib.import_module(name)
    module.load_libraries()
    before = peak()
    engine: Engine = module.make(setup)
    first = engine.translate([0], 4, 1)
    print(json.dumps({"first": first, "imports": before}), file=answer, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        if task["alone"]:
            seconds, found = [], []
            for number in task["numbers"]:
                began = time.perf_counter()
                found += engine.translate([number], task["beam"], 1)
                seconds.append(time.perf_counter() - began)
        else:
            began = time.perf_counter()
            found = engine.translate(task["numbers"], task["beam"], task["batch"])
            seconds = [time.perf_counter() - began]
        print(json.dumps({"seconds": seconds, "found": found, "peak": peak()}), file=answer, flush=True)


if __name__ == "__main__":
    main()
