"""What a model is made of, as settings; `models.build` makes it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sightline.config import Settings
from sightline.errors import nearest
from sightline.nn import names


def _one_of(known: Sequence[str]) -> AfterValidator:
    """What a setting may say."""

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f'"{name}" is not known; choose one of {", ".join(known)}.{nearest(name, known)}')
        return name

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1)]
DropoutShare = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(Settings):
    """The encoder-decoder Transformer; the defaults are the paper's base model (Vaswani et al. 2017, table 3)."""

    kind: Literal["encoder-decoder"] = "encoder-decoder"
    """The family."""
    d_model: Count = 512
    """Width of every vector that travels through the model."""
    n_heads: Count = 8
    """Attention heads."""
    n_kv_heads: Count | None = None
    """Heads of keys and values: fewer than n_heads is grouped-query, 1 multi-query attention; none: n_heads."""
    d_ff: Count = 2048
    """Inner width of the feed-forward network."""
    n_encoder_layers: Count = 6
    """Blocks of the encoder."""
    n_decoder_layers: Count = 6
    """Blocks of the decoder."""
    attention: str | dict[str, Any] = "dot"
    """How attention is computed: a name, `module:Class`, or a table with `kind` and the core's own arguments."""
    position: Annotated[str, _one_of(names.POSITIONS)] = "sinusoidal"
    """How order is told: sinusoidal, learned, rotary, none."""
    feedforward: Annotated[str, _one_of(names.FEEDFORWARDS)] = "relu"
    """relu, gelu, silu or swiglu."""
    norm: Annotated[str, _one_of(names.NORMS)] = "layer"
    """layer or rms."""
    norm_at: names.NormAt = "post"
    """pre (steadier) or post (the paper)."""
    bias: bool = True
    """Biases in the attention projections."""
    output_bias: bool = False
    """A bias for each word of the output."""
    max_len: int = Field(default=1024, ge=1, le=1_000_000)
    """The longest sentence that is read or written, in tokens; also how many positions a learned scheme has."""
    tie_embeddings: bool = True
    """The target embedding is also the output layer."""
    share_embeddings: bool = True
    """Source and target share one embedding; needs a joint vocabulary."""
    init_std: float | None = Field(default=None, gt=0)
    """Spread of the first matrices and embeddings, drawn from a normal distribution (0.02: Devlin et al. 2019, Marian);
    none: Xavier uniform (Glorot and Bengio 2010), embeddings with 1 / sqrt(d_model)."""
    embedding_dropout: DropoutShare = 0.1
    """On embeddings with positions."""
    residual_dropout: DropoutShare = 0.1
    """On what each sublayer adds."""
    attention_dropout: DropoutShare = 0.0
    """On attention weights."""
    ffn_dropout: DropoutShare = 0.0
    """Inside the feed-forward network."""
