"""Convolutional models as ONNX: what a decoding step remembers of each layer is a window of its last inputs."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.interop.onnx.graphs import Graphs, Kept
from sightline.models.convolutional import Convolutional, ConvolutionalState, LayerState, Memory
from sightline.nn.cache import KeyValues


def convolutional(model: Convolutional) -> Graphs:
    """Memory: keys and values of the source, for every layer of the decoder; past: the last inputs of each, first zeros."""
    return Graphs(_Encoder(model), _Step(model), {"memory": Kept(2, (4,)), "past": Kept(1, after="present")})


class _Encoder(nn.Module):
    def __init__(self, model: Convolutional) -> None:
        super().__init__()
        self.model = model

    def forward(self, src: Int[Tensor, "b s"]) -> tuple[Float[Tensor, "l 2 b h s d"], Float[Tensor, "l b w m"]]:
        """Keys and values of the source for every layer of the decoder, and the inputs of each before the first step."""
        memory = self.model.encode(src)
        found, past = [], []
        for layer in self.model.decoder:
            assert layer.cross_attn is not None
            held = layer.cross_attn.project(memory.keys, memory.values)
            found.append(torch.stack((held.k, held.v)))
            before, width = memory.keys, layer.conv.kernel_size - 1
            past.append(before.new_zeros(before.shape[0], width, before.shape[2]))
        return torch.stack(found), torch.stack(past)


class _Step(nn.Module):
    def __init__(self, model: Convolutional) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Int[Tensor, " n"],
        position: Int[Tensor, "1 1"],
        exists: Bool[Tensor, "n s"],
        memory: Float[Tensor, "l 2 n h s d"],
        past: Float[Tensor, "l n w m"],
    ) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, "l n w m"]]:
        """Logits for the next token of each row, and the last inputs of each layer with the newest one."""
        layers = [LayerState(layer.conv.cache()) for layer in self.model.decoder]
        for i, layer in enumerate(layers):
            layer.inputs.held = past[i]
            layer.cross_attn.held = KeyValues(memory[i, 0], memory[i, 1])
        # the memory is in the caches, and of what stands for it nothing is read
        state = ConvolutionalState(Memory(past[0], past[0]), exists, layers)
        state.length = position.clone()  # pyright: ignore[reportAttributeAccessIssue]: a number of the graph
        return self.model.step(tokens, state), torch.stack([layer.inputs.held for layer in layers])  # pyright: ignore
