"""What a training step of recurrent layers costs, beside torch's own: forward and backward pass of

- our encoder layer and `torch.nn.GRU`, `LSTM` and `RNN`, in one direction and in both, the same packed batch of sentences of
  several lengths;
- a decoder layer that looks at the source at each step (attend = before) with each of some attentions, and the matrices that it
  cannot do without: the same layer with attention that gives back what it is asked with.

    python benchmarks/recurrent.py

Each round takes all of them in turn; the median of the rounds is printed, in milliseconds of processor time on one thread, and
the ratio of the medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sightline.nn.attention import CrossAttention
from sightline.nn.cache import MemoryCache
from sightline.nn.cores import Additive, AttentionCore, ScaledDotProduct
from sightline.nn.mask import Mask
from sightline.nn.recurrent import CELLS, AttentiveLayer, RecurrentEncoderLayer
from sightline.training.devices import settle

THEIRS = {"gru": nn.GRU, "lstm": nn.LSTM, "elman": nn.RNN}
Run = Callable[[], object]


class Echo(AttentionCore):
    """No attention: the queries themselves."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
        return q


def medians(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Milliseconds of each, taken in turn, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            began = time.process_time()
            run()
            times[name].append(1000 * (time.process_time() - began))
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def sentences(b: int, t: int, d: int) -> tuple[Tensor, Tensor]:
    """Vectors of sentences of `t` tokens and somewhat fewer, as batches of similar lengths have, and which of them exist."""
    lengths = torch.randint(3 * t // 4, t + 1, (b,))
    lengths[0] = t
    return torch.randn(b, t, d, requires_grad=True), torch.arange(t)[None] < lengths[:, None]


def encoders(kind: str, both: bool, x: Tensor, exists: Tensor) -> dict[str, Run]:
    """Ours and torch's, of the same weights."""
    d = x.shape[-1]
    ours = RecurrentEncoderLayer(CELLS[kind](d, d), CELLS[kind](d, d) if both else None)
    theirs = THEIRS[kind](d, d, batch_first=True, bidirectional=both)
    weights = [each for cell in ours.cells for each in cell.weights]
    for name, weight in zip(theirs._flat_weights_names, weights, strict=True):
        getattr(theirs, name).data.copy_(weight.data)

    def of_torch() -> Tensor:
        packed = pack_padded_sequence(x, exists.sum(dim=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=x.shape[1])[0]

    torch.testing.assert_close(ours(x, exists)[0], of_torch())
    return {"ours": lambda: ours(x, exists)[0].sum().backward(), "torch": lambda: of_torch().sum().backward()}


def decoders(x: Tensor, exists: Tensor) -> dict[str, Run]:
    """A layer that attends, with each of some cores."""
    d = x.shape[-1]
    memory, state = torch.randn(len(x), x.shape[1], 2 * d, requires_grad=True), torch.randn(len(x), d)

    def run(core: AttentionCore) -> Run:
        layer = AttentiveLayer(
            CELLS["gru"](2 * d, d), CrossAttention(d, 1, core, d_memory=2 * d), attend="before", feeds=False
        )
        return lambda: layer(x, state, memory, Mask(keys=exists), MemoryCache())[0].sum().backward()

    return {"none": run(Echo()), "additive": run(Additive(1, d)), "dot": run(ScaledDotProduct())}


def main() -> None:
    """Two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    settle(1)
    torch.manual_seed(1)
    layers = Table("encoder layer", "directions", "d", "tokens", "ours, ms", "torch, ms", "ours / torch")
    attentive = Table("d", "tokens", "no attention, ms", "additive, ms", "ratio", "dot, ms", "ratio")
    for d in args.widths:
        for t in args.lengths:
            x, exists = sentences(args.batch, t, d)
            for kind in THEIRS:
                for both in (False, True):
                    found = medians(encoders(kind, both, x, exists), args.rounds)
                    ours, theirs = found["ours"], found["torch"]
                    row = kind, "2" if both else "1", str(d), str(t), f"{ours:.1f}", f"{theirs:.1f}"
                    layers.add_row(*row, f"{ours / theirs:.2f}")
            found = medians(decoders(x, exists), args.rounds)
            least, additive, dot = found.values()
            row = str(d), str(t), f"{least:.1f}", f"{additive:.1f}", f"{additive / least:.2f}", f"{dot:.1f}"
            attentive.add_row(*row, f"{dot / least:.2f}")
    Console().print(layers, attentive)


if __name__ == "__main__":
    main()
