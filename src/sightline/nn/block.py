"""The one block that every Transformer is a stack of."""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor, nn

from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.cache import BlockCache
from sightline.nn.dropout import Dropout
from sightline.nn.mask import EVERYTHING, Mask
from sightline.nn.names import NormAt


class Block(nn.Module):
    """x + self_attn(norm(x)); with a memory x + cross_attn(norm(x), memory); x + ffn(norm(x)).

    `norm_at` "post" is the paper's order, norm(x + f(x)) (Vaswani et al. 2017, section 3.1); "pre" that of Xiong et al. 2020.
    Encoder, decoder and language model differ in the mask and the memory they pass, and in nothing else.
    """

    def __init__(
        self,
        self_attn: SelfAttention,
        ffn: nn.Module,
        make_norm: type[nn.Module],
        d_model: int,
        cross_attn: CrossAttention | None = None,
        norm_at: NormAt = "pre",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm_at: NormAt = norm_at
        self.self_norm = make_norm(d_model)
        self.self_attn = self_attn
        self.cross_norm = None if cross_attn is None else make_norm(d_model)
        self.cross_attn = cross_attn
        self.ffn_norm = make_norm(d_model)
        self.ffn = ffn
        self.dropout = Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b t m"],
        mask: Mask,
        memory: Float[Tensor, "b s m"] | None = None,
        memory_mask: Mask = EVERYTHING,
        cache: BlockCache | None = None,
    ) -> Float[Tensor, "b t m"]:
        """The sequence one layer further. Needs a memory exactly if the block has cross-attention."""
        pre = self.norm_at == "pre"
        own = None if cache is None else cache.self_attn
        h = self.self_attn(self.self_norm(x) if pre else x, mask, own)
        x = self._add(x, h, self.self_norm)
        if self.cross_attn is not None and self.cross_norm is not None:
            other = None if cache is None else cache.cross_attn
            h = self.cross_attn(self.cross_norm(x) if pre else x, memory, memory_mask, other)
            x = self._add(x, h, self.cross_norm)
        h = self.ffn(self.ffn_norm(x) if pre else x)
        return self._add(x, h, self.ffn_norm)

    def _add(self, x: Tensor, h: Tensor, norm: nn.Module) -> Tensor:
        x = self.dropout.add(x, h)
        return x if self.norm_at == "pre" else norm(x)


Layer = TypeVar("Layer", bound=nn.Module)


class Layers(nn.Module, Generic[Layer]):
    """Layers one after another, addressed by number (`decoder.2`)."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.n_layers = len(layers)
        for i, layer in enumerate(layers):
            self.add_module(str(i), layer)

    def __iter__(self) -> Iterator[Layer]:
        return (self.get_submodule(str(i)) for i in range(self.n_layers))  # pyright: ignore[reportReturnType]

    def __len__(self) -> int:
        return self.n_layers


class Stack(Layers[Block]):
    """Blocks one after another, and a last norm if there is one."""

    def __init__(self, blocks: Sequence[Block], norm: nn.Module | None = None) -> None:
        super().__init__(blocks)
        self.norm = norm

    def forward(
        self,
        x: Float[Tensor, "b t m"],
        mask: Mask,
        memory: Float[Tensor, "b s m"] | None = None,
        memory_mask: Mask = EVERYTHING,
        caches: Sequence[BlockCache] | None = None,
    ) -> Float[Tensor, "b t m"]:
        """All layers; `caches` holds one per block."""
        for i, block in enumerate(self):
            x = block(x, mask, memory, memory_mask, None if caches is None else caches[i])
        return x if self.norm is None else self.norm(x)
