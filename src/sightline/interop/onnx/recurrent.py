"""Recurrent models as ONNX: an encoder layer is the operator Scan around one step of its cell, so of any cell."""

import types

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from sightline.interop.onnx.graphs import Graphs, Kept
from sightline.models.recurrent import Recurrent, RecurrentState
from sightline.nn.attention import CrossAttention
from sightline.nn.cache import KeyValues
from sightline.nn.recurrent import AttentiveLayer, Cell, RecurrentEncoderLayer


def recurrent(model: Recurrent) -> Graphs:
    """Memory: the keys and values of the source, if there is attention; states: those of all layers, side by side."""
    for layer in model.encoder:
        layer.read = types.MethodType(RecurrentEncoderLayer.by_steps, layer)
        for cell in layer.cells:
            cell.forward = types.MethodType(_scanned, cell)
    for layer in model.decoder:
        layer.cell.forward = types.MethodType(_one_step, layer.cell)
    kept = {"states": Kept(0, after="new_states")}
    cross_attn = next((layer.cross_attn for layer in model.decoder if isinstance(layer, AttentiveLayer)), None)
    if cross_attn is None:
        return Graphs(_Encoder(model), _Step(model), kept)
    return Graphs(_AttendedEncoder(model, cross_attn), _AttentiveStep(model), {"memory": Kept(1, lengths=(3,)), **kept})


def _scanned(cell: Cell, x: Tensor, state: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """`Cell.forward` with a loop that is part of the graph."""

    def step(state: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        of_input, exist = given
        new = torch.where(exist, cell.step(of_input, state), state)
        return new, new[:, : cell.width].clone()

    last, out = scan(step, state, (cell.of_input(x).transpose(0, 1), exists.T[:, :, None]))
    return out.transpose(0, 1), last


def _one_step(cell: Cell, x: Tensor, state: Tensor, exists: None = None) -> tuple[Tensor, Tensor]:
    """`Cell.forward` for a sequence of one."""
    state = cell.step(cell.of_input(x)[:, 0], state)
    return state[:, None, : cell.width], state


class _Encoder(nn.Module):
    def __init__(self, model: Recurrent) -> None:
        super().__init__()
        self.model = model

    def forward(self, src: Int[Tensor, "b s"]) -> Float[Tensor, "b p"]:
        """The first states of all layers of the decoder."""
        return torch.cat(self.model.start(src).layers, dim=1)


class _AttendedEncoder(nn.Module):
    def __init__(self, model: Recurrent, cross_attn: CrossAttention) -> None:
        super().__init__()
        self.model, self.cross_attn = model, cross_attn

    def forward(self, src: Int[Tensor, "b s"]) -> tuple[Float[Tensor, "2 b h s d"], Float[Tensor, "b p"]]:
        """Keys and values of the source, and the first states of all layers of the decoder."""
        state = self.model.start(src)
        held = self.cross_attn.project(state.memory)
        return torch.stack((held.k, held.v)), torch.cat(state.layers, dim=1)


class _Stepping(nn.Module):
    def __init__(self, model: Recurrent) -> None:
        super().__init__()
        self.model = model
        self.sizes = [layer.state_size for layer in model.decoder]

    def layers(self, states: Float[Tensor, "n p"]) -> list[Tensor]:
        """The state of each layer."""
        return list(states.split(self.sizes, dim=1))


class _Step(_Stepping):
    def forward(
        self,
        tokens: Int[Tensor, " n"],
        position: Int[Tensor, "1 1"],
        exists: Bool[Tensor, "n s"],
        states: Float[Tensor, "n p"],
    ) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, "n p"]]:
        """Logits for the next token of each row, and the states after it."""
        state = RecurrentState(states, exists, self.layers(states))  # without a memory to look at
        return self.model.step(tokens, state), torch.cat(state.layers, dim=1)


class _AttentiveStep(_Stepping):
    def forward(
        self,
        tokens: Int[Tensor, " n"],
        position: Int[Tensor, "1 1"],
        exists: Bool[Tensor, "n s"],
        memory: Float[Tensor, "2 n h s d"],
        states: Float[Tensor, "n p"],
    ) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, "n p"]]:
        """Logits for the next token of each row, and the states after it."""
        state = RecurrentState(memory[0], exists, self.layers(states))
        state.cache.held = KeyValues(memory[0], memory[1])
        state.length = position  # pyright: ignore[reportAttributeAccessIssue]: a number of the graph
        return self.model.step(tokens, state), torch.cat(state.layers, dim=1)
