"""Everything a run needs to go on exactly where it stopped, saved whole or not at all.

A state is a folder `state/step-00001000` with `tensors.safetensors` (weights, optimiser, moving average, random generators)
and `state.json` (position in the data, what was chosen for this machine, the best validation, the tensors' SHA-256).
"""

import contextlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sightline.errors import UserError
from sightline.files import atomic_folder, check_free_space, explain_os_errors, restore_folder, sha256

KEPT = 2
"""States kept: the newest, and one to fall back on if it is damaged."""


@dataclass
class RunState:
    """Where a run stands, and what it has seen. Everything here is saved."""

    step: int = 0
    """Optimiser steps taken."""
    epoch: int = 0
    """The epoch at hand, counted from 0."""
    batch: int = 0
    """Batches of this epoch already used."""
    tokens: int = 0
    """Target tokens trained on."""
    seconds: float = 0.0
    """Seconds of training and validation."""
    best: float | None = None
    """Best validation figure, larger is better (a loss is negated)."""
    best_step: int = 0
    """The step it was reached at."""
    worse: int = 0
    """Validations since then."""
    snapshots: list[int] = field(default_factory=list)
    """Steps whose weights lie in weights/."""
    finished: bool = False
    """Whether the training came to its end."""
    precision: str = ""
    """Number format, chosen once."""
    loss_scale: float = 1.0
    """What the loss is multiplied by before the backward pass, in fp16."""
    unscaled: int = 0
    """Steps since the scale was changed."""
    compiled: bool = False
    """Whether blocks are compiled, chosen once."""
    threads: int = 0
    """Processor threads, chosen once."""
    batch_tokens: int = 0
    """Batch budget, chosen once."""
    pieces: int = 1
    """Parts that each batch is computed in, more than one after a step found no memory."""
    processes: int = 1
    """Processes that train together, as the run was begun."""


def random_states() -> dict[str, Tensor]:
    """The state of every random generator that training draws from in this process."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Tensor]) -> None:
    """Put every random generator of this process back to where it was."""
    torch.set_rng_state(states["random.cpu"])
    if "random.cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["random.cuda"])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counters, named `optimizer.<parameter number>.<name>`: the optimizer's own tensors."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    return {f"optimizer.{i}.{name}": value for i, p in enumerate(params) for name, value in optimizer.state[p].items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put moments and step counters back."""
    for name, own in optimizer_tensors(optimizer).items():
        own.copy_(tensors[name])


def save_state(folder: Path, state: RunState, tensors: dict[str, Tensor]) -> Path:
    """Write a state beside the earlier ones and remove the oldest beyond `KEPT`.

    Raises UserError, with the earlier states untouched, if the disk has not the room or cannot be written.
    """
    target = folder / f"step-{state.step:08d}"
    check_free_space(folder, int(1.1 * sum(t.numel() * t.element_size() for t in tensors.values())) + (1 << 20))
    with explain_os_errors(target, doing="save the run's state"), atomic_folder(target) as partial:
        file = partial / "tensors.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
        content = {"run": asdict(state), "sha256": sha256(file)}
        (partial / "state.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    for old in [*state_folders(folder)[:-KEPT], *folder.glob(".step-*.partial"), *folder.glob(".step-*.old")]:
        shutil.rmtree(old, ignore_errors=True)  # hidden ones: of saves that were killed; only one process trains here
    return target


def state_folders(folder: Path) -> list[Path]:
    """All states of a run, oldest first."""
    if not folder.is_dir():
        return []
    for path in folder.glob(".step-*.old"):  # moved aside by a save that was killed
        restore_folder(folder / path.name[1:].split(".")[0])
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step-\d{8}", path.name))


def read_state(path: Path) -> tuple[RunState, dict[str, Tensor]]:
    """One state. Raises UserError if it is damaged."""
    try:
        content: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if sha256(path / "tensors.safetensors") != content["sha256"]:
            raise ValueError("the checksum of tensors.safetensors does not match")
        known = {f.name for f in fields(RunState)}
        state = RunState(**{k: v for k, v in content["run"].items() if k in known})
        return state, load_file(path / "tensors.safetensors")
    except (OSError, ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"The saved state {path} is damaged: {error}.") from error


def referenced_snapshots(folder: Path) -> set[int]:
    """The steps whose weights some saved state still needs."""
    steps: set[int] = set()
    for path in state_folders(folder):
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))["run"]
            steps |= {*state["snapshots"], state["best_step"]}
    return steps


def newest_state(folder: Path) -> tuple[RunState, dict[str, Tensor], list[str]] | None:
    """The newest state that can be read, and what was wrong with newer ones; None if there is none at all.

    Raises UserError if there are states and none can be read.
    """
    problems: list[str] = []
    for path in reversed(state_folders(folder)):
        try:
            return *read_state(path), problems
        except UserError as error:
            problems.append(f"{error} Going on from the state before it.")
    if problems:
        raise UserError(
            f"No saved state in {folder} can be read: the newest, {state_folders(folder)[-1].name}, is damaged, and so are "
            "all others. Delete that folder and train again, or choose another --out."
        )
    return None
