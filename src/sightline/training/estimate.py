"""What a training will take, before it begins: memory by what holds it, and time on this machine and on others.

The memory of activations is counted on thin models of the same width: all that a forward pass keeps for the backward pass, with
one layer and with two, is linear in the rest. The time on a machine is a roofline (Williams et al. 2009) on paper: the operations
at `REACHED` of the machine's rate of matrix products, and `PASSES` over the activations at its memory's bandwidth; and on a GPU
at least the time its processor takes to start them.
"""

import time
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sightline.bundle.weights import PRECISIONS
from sightline.models.build import build_model
from sightline.models.config import ModelConfig
from sightline.nn.heads import CHUNK_ELEMENTS
from sightline.training.devices import matmul_rate
from sightline.training.settings import TrainSettings
from sightline.training.working import WorkingCopy

LENGTH = 24
"""Tokens of a sentence, on each side, for which activations and operations are counted."""
AT_ONCE = 1.25
"""What the backward pass holds at its height, over what the forward pass has kept."""
PROGRAM = {"cpu": 500 << 20, "cuda": 900 << 20}
"""Bytes of Python, torch and a corpus; on a GPU of its context and libraries."""
REACHED, PASSES = 0.6, 10.0
"""Share of a machine's published rate that products of these shapes reach, and passes over the activations: fitted to recorded
steps on an H200 (25,000 tokens: base 40 ms measured, 30 on paper; big 82 and 82)."""
STARTED = 250
"""Operations that are started for a layer, forward and backward."""
FREE_SHARE = 0.85
"""Of the free memory, what a batch may fill."""


@dataclass(frozen=True)
class Machine:
    """As its maker describes it."""

    name: str
    count: int
    flops: float
    """bf16 (fp16 where it has no bf16) products, dense, FLOP/s of one device."""
    bandwidth: float
    """Bytes a second of its memory."""
    memory: int
    """Bytes of one device."""
    link: float = 0.0
    """Bytes a second between devices, one way."""
    start: float = 8e-6
    """Seconds that the processor of a GPU takes to start an operation."""


MACHINES = [
    Machine("T4", 1, 65e12, 0.32e12, 15 << 30),
    Machine("RTX 4090", 1, 165e12, 1.01e12, 24 << 30),
    Machine("A100", 1, 312e12, 2.04e12, 80 << 30),
    Machine("H100", 1, 989e12, 3.35e12, 80 << 30),
    Machine("8 x H100", 8, 989e12, 3.35e12, 80 << 30, 450e9),
    Machine("H200", 1, 989e12, 4.8e12, 141 << 30),
    Machine("8 x H200", 8, 989e12, 4.8e12, 141 << 30, 450e9),
]


@dataclass(frozen=True)
class Need:
    """What a training takes, in bytes, and operations."""

    parameters: int
    layers: int
    weights: int
    """float32 weights and, in a half format, the working copy's."""
    gradients: int
    optimizer: int
    average: int
    """The moving average of the weights."""
    loss: int
    """Logits at a time, with their softmax, and the gradient of the vocabulary's weights."""
    activations: float
    """For each token of a batch, counted on its longer side."""
    flops: float
    """Operations of forward and backward pass for each target token (and its source token)."""

    def total(self, batch_tokens: int, device: str = "cpu") -> int:
        """Bytes at the height of a step."""
        return self._fixed(device) + int(self.activations * batch_tokens)

    def largest(self, free: int, device: str = "cpu") -> int:
        """The largest batch, in tokens, a multiple of 64, for which `free` bytes are enough; 0 if there is none."""
        return max(0, int((FREE_SHARE * free - self._fixed(device)) / self.activations) // 64 * 64)

    def _fixed(self, device: str) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.loss + PROGRAM[device]

    def seconds(self, machine: Machine, batch_tokens: int) -> float:
        """Of a step on a machine, `batch_tokens` on each device."""
        products = self.flops * batch_tokens / (REACHED * machine.flops)
        passes = (PASSES * self.activations * batch_tokens + self.weights + self.optimizer) / machine.bandwidth
        exchange = 2 * self.gradients / machine.link if machine.count > 1 else 0.0
        return max(products + passes, self.layers * STARTED * machine.start) + exchange


def estimate(config: ModelConfig, vocab_size: int, settings: TrainSettings, precision: str) -> Need:
    """What such a training takes. Needs some seconds for wide models, and the memory of two of their layers.

    Raises ConfigError if there can be no such model.
    """
    held, flops, per_layer, outside = _counted(config, precision)
    layers = (config.n_encoder_layers, config.n_decoder_layers)
    size = 4 if precision == "fp32" else 2
    inside = sum(count * each for count, each in zip(layers, per_layer, strict=True))
    tables = (
        1
        if config.share_embeddings and config.tie_embeddings
        else 2
        if config.share_embeddings or config.tie_embeddings
        else 3
    )
    parameters = inside + outside + tables * vocab_size * config.d_model
    moments = 1 if settings.optimizer == "muon" else 2
    passes = 2 if settings.r_drop else 1
    chunk = min(CHUNK_ELEMENTS["cpu"], 4096 * vocab_size)
    return Need(
        parameters=parameters,
        layers=sum(layers),
        weights=4 * parameters + (size * inside if precision != "fp32" else 0),
        gradients=4 * parameters,
        optimizer=4 * (moments * inside + 2 * (parameters - inside)),
        average=4 * parameters if settings.ema else 0,
        loss=3 * 4 * chunk + 4 * vocab_size * config.d_model,
        activations=passes * (AT_ONCE * held + 3 * size * config.d_model),
        flops=passes * 3 * (flops + 2 * config.d_model * vocab_size),
    )


def _counted(config: ModelConfig, precision: str) -> tuple[float, float, tuple[int, int], int]:
    """Bytes kept and operations of a forward pass, a token; parameters of an encoder and of a decoder layer, and of the rest
    without the vocabulary's.
    """
    with torch.random.fork_rng(devices=[]):
        one, encoder, decoder = (_forward(config, precision, *layers) for layers in ((1, 1), (2, 1), (1, 2)))
    more = (config.n_encoder_layers - 1, config.n_decoder_layers - 1)
    held, flops = (
        first + more[0] * (by_encoder - first) + more[1] * (by_decoder - first)
        for first, by_encoder, by_decoder in zip(one[:2], encoder[:2], decoder[:2], strict=True)
    )
    per_layer = (encoder[2] - one[2], decoder[2] - one[2])
    return held, flops, per_layer, one[2] - sum(per_layer)


def _forward(config: ModelConfig, precision: str, n_encoder: int, n_decoder: int) -> tuple[float, float, int]:
    """Bytes kept and operations a token, and the parameters beside embeddings and vocabulary."""
    layers = {
        "n_encoder_layers": n_encoder,
        "n_decoder_layers": n_decoder,
        "share_embeddings": True,
        "tie_embeddings": True,
    }
    model = build_model(config.model_copy(update=layers), 8, 8).train()
    parameters = sum(p.numel() for p in model.parameters()) - 8 * config.d_model
    working = WorkingCopy(model, precision)
    rows, length = 4, min(LENGTH, config.max_len)
    tokens = torch.randint(3, 8, (rows, length))
    known = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *working.model.parameters()]}
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out = working.model.hidden(tokens, tokens)
    del out
    return sum(kept.values()) / tokens.numel(), counter.get_total_flops() / tokens.numel(), parameters


def this_machine(precision: str, device: torch.device, memory: int) -> Machine:
    """What a product and a copy reach here, measured for a tenth of a second."""
    a, b = (torch.ones(1 << 24, device=device) for _ in range(2))
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < 0.05:
        b.copy_(a)
        count += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    bandwidth = 2 * a.nbytes * count / (time.perf_counter() - began)
    rate = (
        matmul_rate(cast(torch.dtype, PRECISIONS[precision]), device, 0.05) / REACHED
    )  # of a step's own shapes already
    return Machine("this machine, on paper", 1, rate, bandwidth, memory, start=8e-6 if device.type == "cuda" else 0.0)
