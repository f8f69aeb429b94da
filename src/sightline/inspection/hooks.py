"""What passes through a model while it runs, kept by hooks from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.inspection.manifest import TensorInfo
from sightline.inspection.recorder import Recorder
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.attention import CrossAttention, SelfAttention
from sightline.nn.block import Block
from sightline.nn.mask import Mask
from sightline.nn.recurrent import AttentiveLayer, RecurrentDecoderLayer, RecurrentEncoderLayer

PASSING = {
    *("q", "k", "v", "z", "weights", "out", "resid_pre", "resid_mid", "resid_cross", "resid_post", "pre", "post"),
    *("tokens", "position", "sum", "memory", "hidden", "logits", "id", "lp"),
    *("x", "values", "forwards", "backwards", "states"),
}
"""How the addresses end of what passes through a model; other tensors of a capture are weights."""


def attentions(model: AnyModel) -> dict[str, SelfAttention | CrossAttention]:
    """Every attention of a model by its address, as in `decoder.2.cross_attn`; a recurrent model may have none."""
    return {name: each for name, each in model.named_modules() if isinstance(each, SelfAttention | CrossAttention)}


@contextmanager
def watching(model: AnyModel) -> Iterator[dict[str, Tensor]]:
    """Inside the `with` block everything is kept, by its address, that passes through the model: a batch of one sentence,
    of which the batch axis is left out.

    Of every family `decoder.2.cross_attn.q|k|v|z|weights|out` (heads first; q, k and v as the core gets them: turned by rotary
    positions, and keys and values once for each query head), `src_embed.tokens|position|sum` (tokens times the scale),
    `memory`, `hidden`; what a recurrent layer computes step by step is that of all steps.

    Of a Transformer `decoder.2.resid_pre|resid_mid|resid_cross|resid_post` and `decoder.2.ffn.pre|post` (what goes into the
    activation, and what goes into the last matrix). Of others what each layer gives, `decoder.2.out`, what its attention asks
    with, `decoder.2.cross_attn.x`, and what values are made of where that is not the memory, `decoder.2.cross_attn.values`. Of
    recurrent ones `encoder.0.forwards|backwards` and `decoder.0.states`, a state for each token.
    """
    seen: dict[str, Tensor] = {}
    watch = _Watch(Recorder(model, seen))
    for address, attention in attentions(model).items():
        watch.attention(attention, address)
    for part, layers in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, layer in enumerate(layers):
            watch.layer(layer, f"{part}.{i}")
    for name, embed in (("src_embed", model.src_embed), ("tgt_embed", model.tgt_embed)):
        watch.entering(embed.position, f"{name}.tokens")
        watch.leaving(embed, f"{name}.sum")
    watch.leaving(model.encoder, "memory")
    watch.leaving(model.decoder, "hidden")
    try:
        yield seen
    finally:
        watch.recorder.close()


class _Watch:
    """Hooks at the parts of models that are worth seeing."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def keep(self, name: str, x: Tensor, along: int | None = 0) -> None:
        self.recorder.keep(name, x.detach()[0].float().cpu().clone(), along)

    def entering(self, module: nn.Module, name: str) -> None:
        """The first argument of a module."""
        self.recorder.handles.append(module.register_forward_pre_hook(lambda _, given: self.keep(name, given[0])))

    def leaving(self, module: nn.Module, name: str, along: int = 0) -> None:
        """What a module gives, the first of it where it gives several."""

        def after(_: nn.Module, __: Any, out: Any) -> None:
            self.keep(name, out[0] if isinstance(out, tuple) else out, along)

        self.recorder.handles.append(module.register_forward_hook(after))

    def attention(self, module: SelfAttention | CrossAttention, at: str) -> None:
        def core(core: Any, given: tuple[Tensor, Tensor, Tensor, Mask]) -> None:
            q, k, v, mask = given
            self.keep(f"{at}.q", q, 1)
            self.keep(f"{at}.k", k, None)
            self.keep(f"{at}.v", v, None)
            self.keep(f"{at}.weights", core.weights(q, k, mask), 1)

        self.recorder.handles.append(module.core.register_forward_pre_hook(core))
        self.leaving(module.core, f"{at}.z", 1)
        self.leaving(module, f"{at}.out")

    def layer(self, layer: nn.Module, at: str) -> None:
        if isinstance(layer, Block):
            self._block(layer, at)
            return
        self.leaving(layer, f"{at}.out")
        if isinstance(layer, RecurrentEncoderLayer):
            self._reading(layer, at)
        elif isinstance(layer, RecurrentDecoderLayer):
            self.entering(layer.dropout, f"{at}.states")
        elif isinstance(layer, AttentiveLayer):
            self._asking(layer, at)
        if isinstance(cross := getattr(layer, "cross_attn", None), CrossAttention):
            self._sources(cross, f"{at}.cross_attn")

    def _block(self, block: Block, at: str) -> None:
        self.entering(block, f"{at}.resid_pre")
        self.leaving(block, f"{at}.resid_post")
        norms: list[tuple[nn.Module, str]] = [(block.self_norm, "resid_mid")]
        if block.cross_norm is not None:
            norms.append((block.cross_norm, "resid_cross"))
        if block.norm_at == "post":  # a norm ends what it stands after; else the next one begins with it
            for norm, name in norms:
                self.leaving(norm, f"{at}.{name}")
        else:
            for norm, (_, name) in zip([*(n for n, _ in norms[1:]), block.ffn_norm], norms, strict=True):
                self.entering(norm, f"{at}.{name}")
        inner = cast(Any, block.ffn)
        self.leaving(inner.gate_proj if hasattr(inner, "gate_proj") else inner.up_proj, f"{at}.ffn.pre")
        self.entering(inner.down_proj, f"{at}.ffn.post")

    def _reading(self, layer: RecurrentEncoderLayer, at: str) -> None:
        """The states of both directions stand side by side before dropout."""

        def before(_: nn.Module, given: tuple[Tensor]) -> None:
            width = layer.forwards.width
            self.keep(f"{at}.forwards", given[0][..., :width])
            if layer.backwards is not None:
                self.keep(f"{at}.backwards", given[0][..., width:])

        self.recorder.handles.append(layer.dropout.register_forward_pre_hook(before))

    def _asking(self, layer: AttentiveLayer, at: str) -> None:
        """A state goes with what it saw into the same matrix: for all steps at once, or [b, d] for one."""

        def before(_: nn.Module, given: tuple[Tensor]) -> None:
            states = given[0][..., : layer.cell.width]
            self.keep(f"{at}.states", states if states.ndim == 3 else states[:, None])

        self.recorder.handles.append(layer.join.register_forward_pre_hook(before))

    def _sources(self, attention: CrossAttention, at: str) -> None:
        """Of what queries are made, and values where that is not what keys are made of."""
        keys: list[Tensor] = []

        def of_keys(_: nn.Module, given: tuple[Tensor]) -> None:
            keys[:] = given

        def of_values(_: nn.Module, given: tuple[Tensor]) -> None:
            if not keys or given[0] is not keys[0]:
                self.keep(f"{at}.values", given[0], None)
            keys.clear()

        self.entering(attention.q_proj, f"{at}.x")
        self.recorder.handles.append(attention.k_proj.register_forward_pre_hook(of_keys))
        self.recorder.handles.append(attention.v_proj.register_forward_pre_hook(of_values))


@dataclass(frozen=True)
class Passed:
    """The pass over a source and its translation."""

    tensors: dict[str, Tensor]
    logits: Float[Tensor, "m vocab"]


@torch.no_grad()
def watched_pass(model: AnyModel, src: Int[Tensor, "1 n"], tgt: Int[Tensor, "1 m"]) -> Passed:
    """All that passes through the model when it reads a source and, after the begin, a translation."""
    with watching(model) as seen:
        logits = model(src, tgt)[0].float().cpu()
    for name, embed, ids in (("src_embed", model.src_embed, src), ("tgt_embed", model.tgt_embed, tgt)):
        nothing = torch.zeros(1, ids.shape[1], embed.tokens.embedding_dim, device=src.device)
        seen[f"{name}.position"] = embed.position(nothing)[0].float().cpu().clone()
    return Passed(seen, logits)


def tensor_info(name: str, tensor: Tensor) -> TensorInfo:
    """What a tensor of a capture is; a weight's axes are its rows and columns."""
    kinds = {torch.float32: "F32", torch.float16: "F16", torch.uint8: "U8", torch.int32: "I32"}
    return TensorInfo(kinds[tensor.dtype], list(tensor.shape), _axes(name, tensor.ndim))


def _axes(name: str, ndim: int) -> list[str]:
    last = name.rpartition(".")[2]
    if last not in PASSING or ".core." in name:
        return ["row", "column"][:ndim] if ndim <= 2 else [f"axis {i}" for i in range(ndim)]
    if "_attn." in name and last not in ("out", "x", "values"):
        columns = "key" if last == "weights" else "d_head"
        return ["head", "key" if last in ("k", "v") else "query", columns]
    if name.startswith("logits"):
        return ["step", "vocab" if name == "logits" else "rank"]
    if last in ("forwards", "backwards", "states"):
        return ["token", "d_state"]
    return ["token", "d_ff" if ".ffn." in name else "d_model"]
