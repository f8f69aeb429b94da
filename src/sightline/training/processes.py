# pyright: reportPrivateImportUsage=false
"""Several processes that train one model, each on batches of its own: started by `torchrun`, one for each GPU or on a CPU."""

import os
import sys
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sightline.errors import ConfigError

PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which alone prepares data, validates and writes."""


class Processes:
    """One process by itself: nothing is exchanged."""

    rank, size = 0, 1

    @property
    def first(self) -> bool:
        """Whether this is the process that decides and writes."""
        return self.rank == 0

    def device(self, best: torch.device) -> torch.device:
        """This process's device, where `best` is the machine's."""
        return best

    def agree(self, value: float) -> float:
        """The first process's value, in all of them."""
        return value

    def share(self, thing: Any) -> Any:
        """The same for anything that can be pickled, among processes that trust each other."""
        return thing

    def total(self, count: int) -> int:
        """The sum of all processes' counts."""
        return count

    def add_up(self, model: nn.Module, total: Tensor) -> None:
        """Make the gradients of `model`, and `total`, the sums of all processes' ones, the same numbers in each."""

    def gather(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Everybody's tensors, on the processor, in the first process; none in the others."""
        return [tensors]

    def wait(self) -> None:
        """Until all are here."""

    def leave(self) -> None:
        """End a process that is one of several, with success, when all are here: the last thing that it does."""


class Joined(Processes):
    """One of several processes, with the others found by what `torchrun` says in the environment."""

    def __init__(self) -> None:
        self.local = int(os.environ.get("LOCAL_RANK", "0"))
        on_gpu = torch.cuda.is_available()
        if on_gpu and self.local >= torch.cuda.device_count():
            raise ConfigError(
                f"torchrun started more processes on this machine than it has GPUs ({torch.cuda.device_count()}). "
                f"Say --nproc-per-node={torch.cuda.device_count()}."
            )
        if not dist.is_initialized():
            if on_gpu:
                torch.cuda.set_device(self.local)
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def device(self, best: torch.device) -> torch.device:  # noqa: D102
        return torch.device("cuda", self.local) if best.type == "cuda" else best

    def agree(self, value: float) -> float:  # noqa: D102
        held = torch.tensor(value, dtype=torch.float64)
        dist.broadcast(held, 0)
        return held.item()

    def share(self, thing: Any) -> Any:  # noqa: D102
        held = [thing]
        dist.broadcast_object_list(held, 0)
        return held[0]

    def total(self, count: int) -> int:  # noqa: D102
        held = torch.tensor(count)
        dist.all_reduce(held)
        return int(held)

    def add_up(self, model: nn.Module, total: Tensor) -> None:  # noqa: D102
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad  # of a process that had no batch left
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        sums = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(sums, gradients, strict=True)])
        dist.all_reduce(total)

    def gather(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:  # noqa: D102
        held: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object({name: tensor.cpu() for name, tensor in tensors.items()}, held, 0)
        return held or []

    def wait(self) -> None:  # noqa: D102
        self.agree(0.0)

    def leave(self) -> None:  # noqa: D102
        self.wait()
        dist.destroy_process_group()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(
            0
        )  # an orderly exit aborts one time in five (torch 2.13: "terminate called without an active exception")


def join() -> Processes:
    """The processes that `torchrun` started, this one among them, or this one alone."""
    return Joined() if int(os.environ.get("WORLD_SIZE", "1")) > 1 and dist.is_available() else Processes()
