"""The trained tensors of a model, known from its settings, without torch."""

from collections.abc import Iterator

from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig

CORES = ("dot", "cosine")
"""The attentions whose tensors are known here; others may hold anything."""
Shape = tuple[int, ...]


def core_name(config: ModelConfig) -> str | None:
    """The attention, if it is one that is known here and has no arguments of its own."""
    spec = {"kind": config.attention} if isinstance(config.attention, str) else config.attention
    return spec["kind"] if spec.keys() == {"kind"} and spec["kind"] in CORES else None


def layout(config: ModelConfig, src_vocab_size: int, tgt_vocab_size: int) -> dict[str, Shape] | None:
    """The shape of each trained tensor by its address, in the order of the modules; a shared one is under its first address.

    None where only the modules can tell: another family, an attention of one's own, or with arguments; and what `build_model`
    refuses.
    """
    if not isinstance(config, TransformerConfig):
        return None
    d, heads, kv_heads = config.d_model, config.n_heads, config.n_kv_heads or config.n_heads
    whole = d % heads == 0 and heads % kv_heads == 0 and not (config.position == "rotary" and (d // heads) % 2)
    if core_name(config) is None or not whole or (config.share_embeddings and src_vocab_size != tgt_vocab_size):
        return None
    found: dict[str, Shape] = {}
    for side, size in (("src_embed", src_vocab_size), ("tgt_embed", tgt_vocab_size)):
        if side == "src_embed" or not config.share_embeddings:
            found[f"{side}.tokens.weight"] = (size, d)
        if config.position == "learned":
            found[f"{side}.position.weight"] = (config.max_len, d)
    for stack, count in (("encoder", config.n_encoder_layers), ("decoder", config.n_decoder_layers)):
        for i in range(count):
            for part, shape in _block(config, cross=stack == "decoder"):
                found[f"{stack}.{i}.{part}"] = shape
        if config.norm_at == "pre":
            found |= {f"{stack}.norm.{part}": shape for part, shape in _norm(config)}
    if not config.tie_embeddings:
        found["head.weight"] = (tgt_vocab_size, d)
    if config.output_bias:
        found["head.bias"] = (tgt_vocab_size,)
    return found


def least_parameters(config: ModelConfig) -> int:
    """So many there are in the layers at least, whatever the attention: what can be said without making them."""
    d, layers = config.d_model, config.n_encoder_layers + config.n_decoder_layers
    if isinstance(config, TransformerConfig):
        return layers * (2 * d * d + 2 * d * config.d_ff)  # queries and outputs, and the feed-forward network
    if isinstance(config, RecurrentConfig):
        return layers * config.width * config.width  # what a state gives to the next
    if isinstance(config, ConvolutionalConfig):
        return layers * 2 * config.kernel_size * d * d
    return layers * d * d


def first_address(config: ModelConfig, name: str) -> str:
    """Under which address a tensor is kept: that of another, if they are one."""
    if name == "head.weight" and config.tie_embeddings:
        name = "tgt_embed.tokens.weight"
    return "src_embed.tokens.weight" if name == "tgt_embed.tokens.weight" and config.share_embeddings else name


def _block(config: TransformerConfig, cross: bool) -> Iterator[tuple[str, Shape]]:
    d, inner = config.d_model, config.d_ff
    attentions = {"self": "self_attn", **({"cross": "cross_attn"} if cross else {})}
    for kind, attention in attentions.items():
        yield from ((f"{kind}_norm.{part}", shape) for part, shape in _norm(config))
        yield from ((f"{attention}.{part}", shape) for part, shape in _attention(config))
    yield from ((f"ffn_norm.{part}", shape) for part, shape in _norm(config))
    gated = config.feedforward == "swiglu"
    for layer, shape in (("up", (inner, d)), *([("gate", (inner, d))] if gated else []), ("down", (d, inner))):
        yield f"ffn.{layer}_proj.weight", shape
        if not gated:
            yield f"ffn.{layer}_proj.bias", shape[:1]


def _norm(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    yield "weight", (config.d_model,)
    if config.norm == "layer":
        yield "bias", (config.d_model,)


def _attention(config: TransformerConfig) -> Iterator[tuple[str, Shape]]:
    d, n_kv_heads = config.d_model, config.n_kv_heads or config.n_heads
    d_kv = n_kv_heads * (d // config.n_heads)
    for layer, shape in (("q", (d, d)), ("k", (d_kv, d)), ("v", (d_kv, d)), ("o", (d, d))):
        if layer == "o" and core_name(config) == "cosine":
            yield "core.log_sharpness", (config.n_heads,)
        yield f"{layer}_proj.weight", shape
        if config.bias:
            yield f"{layer}_proj.bias", shape[:1]
