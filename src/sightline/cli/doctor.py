"""`sightline doctor`."""

import platform
import shutil
from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import UserError


def doctor(
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Folder whose disk is looked at.")] = Path(),
) -> None:
    """Show versions, processor features, the number format that is fastest here, free memory and disk."""
    from rich.console import Console
    from rich.table import Table

    if not folder.exists():
        raise UserError(f"--folder {folder} does not exist: give a folder whose disk is to be looked at.")

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _rows(folder):
        table.add_row(name, value)
    Console().print(table)


def _rows(folder: Path) -> list[tuple[str, str]]:
    import torch

    from sightline.training.devices import best_device, choose_precision, processor, usable_cores

    device = best_device()
    torch.set_num_threads(usable_cores())
    chosen, why = choose_precision(device)
    disk = shutil.disk_usage(folder.absolute())
    rows = [
        ("sightline", _version("sightline")),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name)) for name in ("torch", "tokenizers", "safetensors", "sacrebleu", "numpy", "pydantic")),
        ("tensorboard", _version("tensorboard")),
        ("processor", f"{processor()}, {usable_cores()} cores"),
        ("instructions", " ".join(_features()) or torch.backends.cpu.get_cpu_capability()),
        ("device", torch.cuda.get_device_name(0) if device.type == "cuda" else "CPU"),
        ("number format", f"{chosen} ({why})"),
        ("native runtime", _native()),
        ("memory free", _memory()),
        ("disk free", f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB"),
        ("built-in model", _builtin()),
    ]
    return rows


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _features() -> list[str]:
    from sightline.training.devices import cpuinfo

    flags = set(cpuinfo().get("flags", "").split())
    return [name for name in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if name in flags]


def _native() -> str:
    from sightline.runtime.native import native_library

    found = native_library()
    return (
        "none: `make native` builds and installs it"
        if found is None
        else f"translates in int8 ({Path(found._name).stem})"
    )


def _memory() -> str:
    import psutil

    found = psutil.virtual_memory()
    return f"{found.available / 2**30:.1f} of {found.total / 2**30:.1f} GiB"


def _builtin() -> str:
    from sightline.runtime.translator import BUILTIN

    weights = BUILTIN / "model.safetensors"
    return f"{weights.stat().st_size / 1e6:.1f} MB in {BUILTIN}" if weights.is_file() else "missing"
