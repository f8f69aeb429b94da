"""What one long sequence costs in training: seconds a token and memory, for 1, 2, 4 and 8 thousand tokens on each side.

    python benchmarks/long_sequences.py

A model of width 256 with 3+3 layers takes forward and backward pass over one pair, each length in a process of its own, with
and without attention dropout. Memory is what the process holds at most, less what it holds before the pass.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from rich.console import Console
from rich.table import Table

from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.tasks.translation import translation_loss
from sightline.training.devices import choose_precision, settle
from sightline.training.working import WorkingCopy


def measure(length: int, dropout: float, threads: int) -> dict[str, float]:
    """Seconds of a second pass, and the bytes that two of them took."""
    settle(threads)
    torch.manual_seed(1)
    config = TransformerConfig(
        d_model=256,
        n_heads=4,
        d_ff=1024,
        n_encoder_layers=3,
        n_decoder_layers=3,
        attention_dropout=dropout,
        max_len=length,
    )
    model = build_model(config, 8000, 8000).train()
    working = WorkingCopy(model, choose_precision(torch.device("cpu"))[0])
    src, tgt = (torch.randint(3, 8000, (1, length)) for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        began = time.perf_counter()
        translation_loss(working.model, src, tgt, tgt, 0.1).backward()
        seconds = time.perf_counter() - began
        working.forget()
    return {"seconds": seconds, "memory": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)}


def main() -> None:
    """A table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(int(args.one[0]), args.one[1], args.threads)))
        return
    table = Table("tokens", "attention dropout", "ms a token", "memory, MiB", "KiB a token")
    for dropout in (0.0, 0.1):
        for length in args.lengths:
            command = [sys.executable, __file__, "--threads", str(args.threads), "--one", str(length), str(dropout)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            each, memory = found["seconds"] / length, found["memory"]
            table.add_row(
                f"{length:,}",
                str(dropout),
                f"{each * 1e3:.2f}",
                f"{memory / 2**20:,.0f}",
                f"{memory / 2**10 / length:.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
