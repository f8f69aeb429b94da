"""What passes through a model while it runs, kept by hooks from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.inspection.manifest import TensorInfo
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.nn.mask import Mask

PASSING = {
    *("q", "k", "v", "z", "weights", "out", "resid_pre", "resid_mid", "resid_cross", "resid_post", "pre", "post"),
    *("tokens", "position", "sum", "memory", "hidden", "logits", "id", "lp"),
}
"""How the addresses end of what passes through a model; other tensors of a capture are weights."""


@contextmanager
def watching(model: EncoderDecoder) -> Iterator[dict[str, Tensor]]:
    """Inside the `with` block everything is kept, by its address, that passes through the model: a batch of one sentence,
    of which the batch axis is left out.

    `decoder.2.cross_attn.q|k|v|z|weights|out` (heads first; q, k and v as the core gets them: turned by rotary positions,
    and keys and values once for each query head), `decoder.2.resid_pre|resid_mid|resid_cross|resid_post`,
    `decoder.2.ffn.pre|post` (what goes into the activation, and what goes into the last matrix),
    `src_embed.tokens|position|sum` (tokens times the scale), `memory`, `hidden`.
    """
    seen: dict[str, Tensor] = {}
    handles: list[Any] = []

    def keep(name: str, x: Any) -> None:
        seen[name] = x.detach()[0].float().cpu().clone()

    def entering(module: nn.Module, name: str) -> None:
        handles.append(module.register_forward_pre_hook(lambda _, given: keep(name, given[0])))

    def leaving(module: nn.Module, name: str) -> None:
        handles.append(module.register_forward_hook(lambda _, __, out: keep(name, out)))

    def attention(module: Any, at: str) -> None:
        def core(core: Any, given: tuple[Tensor, Tensor, Tensor, Mask]) -> None:
            q, k, v, mask = given
            for name, x in (("q", q), ("k", k), ("v", v), ("weights", core.weights(q, k, mask))):
                keep(f"{at}.{name}", x)

        handles.append(module.core.register_forward_pre_hook(core))
        leaving(module.core, f"{at}.z")
        leaving(module, f"{at}.out")

    for part, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        for i, block in enumerate(stack):
            at = f"{part}.{i}"
            entering(block, f"{at}.resid_pre")
            leaving(block, f"{at}.resid_post")
            attention(block.self_attn, f"{at}.self_attn")
            norms: list[tuple[nn.Module, str]] = [(block.self_norm, "resid_mid")]
            if block.cross_attn is not None and block.cross_norm is not None:
                attention(block.cross_attn, f"{at}.cross_attn")
                norms.append((block.cross_norm, "resid_cross"))
            if block.norm_at == "post":  # a norm ends what it stands after; else the next one begins with it
                for norm, name in norms:
                    leaving(norm, f"{at}.{name}")
            else:
                for norm, (_, name) in zip([*(n for n, _ in norms[1:]), block.ffn_norm], norms, strict=True):
                    entering(norm, f"{at}.{name}")
            inner = cast(Any, block.ffn)
            leaving(inner.gate_proj if hasattr(inner, "gate_proj") else inner.up_proj, f"{at}.ffn.pre")
            entering(inner.down_proj, f"{at}.ffn.post")
    for name, embed in (("src_embed", model.src_embed), ("tgt_embed", model.tgt_embed)):
        entering(embed.position, f"{name}.tokens")
        leaving(embed, f"{name}.sum")
    leaving(model.encoder, "memory")
    leaving(model.decoder, "hidden")
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Passed:
    """The pass over a source and its translation."""

    tensors: dict[str, Tensor]
    logits: Float[Tensor, "m vocab"]


@torch.no_grad()
def watched_pass(model: EncoderDecoder, src: Int[Tensor, "1 n"], tgt: Int[Tensor, "1 m"]) -> Passed:
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
    if last not in PASSING:
        return ["row", "column"][:ndim] if ndim <= 2 else [f"axis {i}" for i in range(ndim)]
    if "_attn." in name and last != "out":
        columns = "key" if last == "weights" else "d_head"
        return ["head", "key" if last in ("k", "v") else "query", columns]
    if name.startswith("logits"):
        return ["step", "vocab" if name == "logits" else "rank"]
    return ["token", "d_ff" if ".ffn." in name else "d_model"]
