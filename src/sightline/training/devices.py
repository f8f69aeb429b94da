"""The machine a run trains on: device, threads, number format, memory."""

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
import time
from pathlib import Path

import psutil
import torch

from sightline.bundle.weights import PRECISIONS


def best_device() -> torch.device:
    """The first CUDA device if there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")


def cpuinfo() -> dict[str, str]:
    """What Linux says of the processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}


def processor() -> str:
    """What the processor is called."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def usable_cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device for a new process."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def matmul_rate(kind: torch.dtype, device: torch.device, seconds: float = 0.02) -> float:
    """Multiply-adds a second (times two: FLOP/s) of a matmul of a training step's shape in this number format."""
    a, b = (torch.ones(n, 512, dtype=kind, device=device) for n in (1024, 512))

    def work() -> None:
        torch.matmul(a, b.mT)
        if device.type == "cuda":
            torch.cuda.synchronize()

    work()
    start, count = time.perf_counter(), 0
    while count < 2 or time.perf_counter() - start < seconds:
        work()
        count += 1
    return 2 * 1024 * 512 * 512 * count / (time.perf_counter() - start)


def choose_precision(device: torch.device) -> tuple[str, str]:
    """The fastest number format on this machine, and the measurement that says so.

    bf16 must win by a fifth, for float32 loses no digits; on a GPU so must fp16, for it needs its loss scaled (older ones have no
    bf16). The measurement takes a few hundredths of a second.
    """
    tried = PRECISIONS if device.type == "cuda" else {name: PRECISIONS[name] for name in ("fp32", "bf16")}
    rates = {name: matmul_rate(kind, device) for name, kind in tried.items()}
    chosen = "fp32"
    for name in list(rates)[1:]:
        chosen = name if rates[name] > 1.2 * rates[chosen] else chosen
    said = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    return chosen, f"matmul measured: {said}"


def can_compile(device: torch.device) -> bool:
    """Whether torch's compiler has what it needs for a GPU: Triton, and a C compiler to start its kernels."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang"))


def settle(threads: int) -> None:
    """Process-wide settings for steady speed: thread count, tiny numbers flushed to zero, freed memory kept.

    Without the last, the C library gives every large buffer back to the system and each step pays for its pages again
    (glibc only; elsewhere nothing is done).
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if (libc := _glibc()) is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)


def give_back_memory() -> None:
    """Give freed memory, which `settle` and CUDA have kept, back to the system."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" else None
