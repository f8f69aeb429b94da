"""The Transformer as ONNX."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sightline.interop.onnx.graphs import Graphs, Kept
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.attention import SelfAttention
from sightline.nn.cache import BlockCache, KeyValues
from sightline.nn.mask import Mask
from sightline.nn.position import At, Rotary, turned


def transformer(model: EncoderDecoder) -> Graphs:
    """Memory: the keys and values of the source, for every layer of the decoder; past: those of what was written."""
    for module in model.modules():
        if isinstance(module, SelfAttention) and module.rotate is not None:
            module.rotate = _Turn(model.tgt_embed.position)
    return Graphs(_Encoder(model), _Step(model), {"memory": Kept(2, (4,)), "past": Kept(2, (4,), "present")})


class _Turn:
    """`Rotary.rotate` where positions are numbers of the graph."""

    def __init__(self, position: nn.Module) -> None:
        assert isinstance(position, Rotary)
        self.angles = position.angles[: position.max_len]

    def __call__(self, x: Tensor, at: At) -> Tensor:
        place = torch.arange(x.shape[2], device=x.device)[None] if isinstance(at, int) else at
        return turned(x, self.angles[place][:, None])


class _Encoder(nn.Module):
    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, src: Int[Tensor, "b s"]) -> tuple[Float[Tensor, "l 2 b h s d"], Float[Tensor, "l 2 b h 0 d"]]:
        """Keys and values of the source for every layer of the decoder, and those of nothing written yet."""
        memory = self.model.encode(src)
        found = []
        for block in self.model.decoder:
            assert block.cross_attn is not None
            held = block.cross_attn.project(memory)
            found.append(torch.stack((held.k, held.v)))
        both = torch.stack(found)
        return both, both[:, :, :, :, :0]


class _Past:
    """A `Cache` of tensors that are given, at a position that is given."""

    def __init__(self, past: Float[Tensor, "2 n h t d"], at: Int[Tensor, "1 1"]) -> None:
        self.past, self.at = past, at

    def extend(self, new: KeyValues) -> KeyValues:
        self.past = torch.cat((self.past, torch.stack((new.k, new.v))), dim=3)
        return KeyValues(self.past[0], self.past[1])

    def reorder(self, index: Int[Tensor, " n"]) -> None:
        self.past = self.past[:, index]


class _Step(nn.Module):
    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens: Int[Tensor, " n"],
        position: Int[Tensor, "1 1"],
        exists: Bool[Tensor, "n s"],
        memory: Float[Tensor, "l 2 n h s d"],
        past: Float[Tensor, "l 2 n h t d"],
    ) -> tuple[Float[Tensor, "n vocab"], Float[Tensor, "l 2 n h u d"]]:
        """Logits for the next token of each row, and the caches with the newest one."""
        model = self.model
        caches = [BlockCache(_Past(past[layer], position)) for layer in range(len(model.decoder))]
        for layer, cache in enumerate(caches):
            cache.cross_attn.held = KeyValues(memory[layer, 0], memory[layer, 1])
        x = model.tgt_embed(tokens[:, None], position)
        x = model.decoder(
            x, Mask(at=position), x, Mask(keys=exists, at=position), caches
        )  # the memory is in the caches
        return model.head(x[:, 0]), torch.stack([cache.self_attn.past for cache in caches])  # pyright: ignore
