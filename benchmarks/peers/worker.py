"""One toolkit at work: it takes training steps when it is told to, and says how long each took.

    python worker.py TOOLKIT SETUP.json cpu|cuda

runs in the toolkit's own environment. `SETUP.json` holds the sizes of the model (see `Sizes`), the number format, the threads
and the file of batches. Each line on stdin is the number of a batch; each line on stdout answers it with JSON.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """What all toolkits build: an encoder-decoder with one embedding for source, target and output."""

    d_model: int
    n_heads: int
    d_ff: int
    n_layers: int
    vocab_size: int
    dropout: float
    """On embeddings, on what sublayers add, on attention weights and inside the feed-forward network, as far as a toolkit can."""
    label_smoothing: float
    max_len: int
    pad_id: int
    bos_id: int
    eos_id: int


Batch = dict[str, Tensor]
"""src [b, s], tgt_in [b, t], tgt_out [b, t]: token ids, padded; real [n]: which of tgt_out are no padding."""
NAMES = ("src", "tgt_in", "tgt_out", "real")
DEVICE = torch.device("cuda" if "cuda" in sys.argv[1:] else "cpu")
Loss = Callable[[Batch], Tensor]
"""The label-smoothed cross-entropy of a batch, summed over its real target tokens."""


class Plain:
    """A step as PyTorch's users write it: autocast where it is bf16, clipping, fused Adam."""

    def __init__(self, model: nn.Module, loss: Loss, precision: str) -> None:
        self.model, self.loss, self.precision = model.to(DEVICE).train(), loss, precision
        self.parameters = list(dict.fromkeys(model.parameters()))
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-4, betas=(0.9, 0.98), eps=1e-9, fused=True)

    def __call__(self, batch: Batch, count: int) -> float:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            loss = self.loss(batch)
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach()) / count


def smoothed(logits: Tensor, batch: Batch, sizes: Sizes) -> Tensor:
    """torch's own loss over all logits."""
    return nn.functional.cross_entropy(
        logits.flatten(0, 1),
        batch["tgt_out"].flatten(),
        ignore_index=sizes.pad_id,
        label_smoothing=sizes.label_smoothing,
        reduction="sum",
    )


def peak_memory() -> int:
    """Bytes that the process has held at most: on the GPU, or else of the machine's memory."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    toolkit, setup_file, _ = sys.argv[1:]
    with open(setup_file) as file:
        setup: dict[str, Any] = json.load(file)
    torch.manual_seed(1)
    torch.set_num_threads(setup["threads"])
    tensors = load_file(setup["batches"])
    count = 1 + max(int(name.split(".")[0]) for name in tensors)
    batches = [{name: tensors[f"{i}.{name}"].to(DEVICE) for name in NAMES} for i in range(count)]
    sizes = Sizes(**setup["sizes"])
    answer, sys.stdout = sys.stdout, sys.stderr  # what a toolkit prints is no answer
    step = importlib.import_module(toolkit).make(sizes, setup["precision"], setup["variant"])
    if hasattr(step, "prepare"):
        step.prepare(batches)
    print(json.dumps({"parameters": sum(p.numel() for p in step.parameters)}), file=answer, flush=True)
    for line in sys.stdin:
        batch = batches[int(line)]
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        loss = step(batch, len(batch["real"]))  # a number: a GPU has then done all but the optimizer's part
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "loss": loss, "memory": peak_memory()}), file=answer, flush=True)


if __name__ == "__main__":
    sys.modules["worker"] = sys.modules["__main__"]
    main()
