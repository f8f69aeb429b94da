"""What a model is made of, as settings; `models.build` makes it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

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
    """What every family of models from one sequence to another has; each has its own defaults."""

    d_model: Count = 512
    """Width of every vector that travels through the model."""
    n_heads: Count = 8
    """Attention heads."""
    n_encoder_layers: Count = 6
    """Layers of the encoder."""
    n_decoder_layers: Count = 6
    """Layers of the decoder."""
    attention: str | dict[str, Any] = "dot"
    """How attention is computed: a name, `module:Class`, or a table with `kind` and the core's own arguments."""
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
    """On what each sublayer adds; in recurrent models on what each layer gives, in convolutional ones on what each reads."""
    attention_dropout: DropoutShare = 0.0
    """On attention weights."""

    @property
    def d_head(self) -> int:
        """Width of the queries and keys of a head."""
        return self.d_model // self.n_heads


class TransformerConfig(ModelConfig):
    """The encoder-decoder Transformer; the defaults are the paper's base model (Vaswani et al. 2017, table 3)."""

    kind: Literal["encoder-decoder"] = "encoder-decoder"
    """The family: encoder-decoder (the Transformer), recurrent or convolutional."""
    n_kv_heads: Count | None = None
    """Heads of keys and values: fewer than n_heads is grouped-query, 1 multi-query attention; none: n_heads."""
    d_ff: Count = 2048
    """Inner width of the feed-forward network."""
    position: Annotated[str, _one_of(names.POSITIONS)] = "sinusoidal"
    """How order is told: sinusoidal, learned, rotary, none."""
    feedforward: Annotated[str, _one_of(names.FEEDFORWARDS)] = "relu"
    """relu, gelu, silu or swiglu."""
    norm: Annotated[str, _one_of(names.NORMS)] = "layer"
    """layer or rms."""
    norm_at: names.NormAt = "post"
    """pre (steadier) or post (the paper)."""
    ffn_dropout: DropoutShare = 0.0
    """Inside the feed-forward network."""


class RecurrentConfig(ModelConfig):
    """A recurrent encoder-decoder; the defaults are those of Bahdanau et al. 2015 with fewer numbers: gated units, read in both
    directions, and additive attention by the state before each word.
    """

    kind: Literal["recurrent"] = "recurrent"
    """The family: encoder-decoder (the Transformer), recurrent or convolutional."""
    cell: Annotated[str, _one_of(names.CELLS)] = "gru"
    """elman, gru or lstm."""
    d_model: Count = 256
    """Width of the embeddings and, unless d_state says another, of the states."""
    d_state: Count | None = None
    """Width of the states, of each direction; none: d_model."""
    n_heads: Count = 1
    """Attention heads; the classical models have one."""
    n_encoder_layers: Count = 1
    """Layers of the encoder."""
    n_decoder_layers: Count = 1
    """Layers of the decoder; the first of them attends (Wu et al. 2016, section 3)."""
    bidirectional: bool = True
    """The encoder reads in both directions (Schuster and Paliwal 1997)."""
    attention: str | dict[str, Any] = "additive"
    """As in a Transformer; or none: the encoder's last states are all that the decoder knows (Sutskever et al. 2014)."""
    attend: names.Attend = "before"
    """before: the state before a word asks, and what it sees goes into the next state with the word (Bahdanau et al. 2015);
    between: one cell reads the word, its state asks, a second cell reads what was seen (the conditional GRU: Sennrich et al.
    2017, section 3); after: the new state asks (Luong et al. 2015)."""
    input_feeding: bool = True
    """Where attention comes after: what it saw is part of the next step's input (Luong et al. 2015, section 3.3)."""
    bridge: names.Bridge = "dense"
    """The decoder's first state: dense (tanh of a matrix times the encoder's last states), mean (of the mean of all its states),
    copy (the last states themselves, of as many layers) or zero."""
    residual: bool = False
    """Each layer above the first adds to its input (Wu et al. 2016, section 3.1)."""
    layer_norm: bool = False
    """Layer normalisation inside the cells, of what comes from the input and from the state apart (Ba et al. 2016,
    supplement)."""
    variational: bool = False
    """Dropout leaves out the same numbers at every step of a sentence (Gal and Ghahramani 2016)."""
    recurrent_dropout: DropoutShare = 0.0
    """On the state that a step takes over from the one before, the same numbers at every step (Gal and Ghahramani 2016)."""
    embedding_dropout: DropoutShare = 0.3
    """On embeddings."""
    residual_dropout: DropoutShare = 0.3
    """On what each layer gives."""

    @model_validator(mode="after")
    def _fits(self) -> "RecurrentConfig":
        if self.width % self.n_heads:
            raise ValueError(
                f"states of {self.width} numbers cannot be cut into {self.n_heads} heads: make n_heads a divisor."
            )
        if self.bridge == "copy" and (self.bidirectional or self.n_encoder_layers != self.n_decoder_layers):
            raise ValueError(
                "bridge = copy needs as many encoder layers as decoder layers, and bidirectional = false: set these, or "
                "bridge = dense."
            )
        return self

    @property
    def width(self) -> int:
        """Of the states, of each direction."""
        return self.d_state or self.d_model

    @property
    def d_head(self) -> int:
        """Width of the queries and keys of a head."""
        return self.width // self.n_heads


class ConvolutionalConfig(ModelConfig):
    """Convolutional sequence to sequence learning (Gehring et al. 2017): gated convolutions, attention in every layer."""

    kind: Literal["convolutional"] = "convolutional"
    """The family: encoder-decoder (the Transformer), recurrent or convolutional."""
    d_model: Count = 256
    """Width of every vector that travels through the model."""
    n_heads: Count = 1
    """Attention heads; the paper has one."""
    n_encoder_layers: Count = 4
    """Convolutions of the encoder."""
    n_decoder_layers: Count = 3
    """Convolutions of the decoder, each with attention."""
    kernel_size: Count = 3
    """Tokens that a convolution sees at a time; an odd number."""
    attention: str | dict[str, Any] = "plain-dot"
    """As in a Transformer; the paper's is not scaled."""
    position: Annotated[str, _one_of(("learned", "none"))] = "learned"
    """How order is told: learned (the paper) or none; the convolutions tell some of it anyway."""
    weight_norm: bool = True
    """Weight normalisation of the convolutions (Salimans and Kingma 2016), as in the paper."""
    init_std: float | None = Field(default=None, gt=0)
    """Spread of the first matrices and embeddings, not of convolutions; none: Xavier uniform, embeddings with 0.1 (section 3.5).
    There are no norms: what is made smaller here stays small, and learns slowly."""
    embedding_dropout: DropoutShare = 0.2
    """On embeddings with positions."""
    residual_dropout: DropoutShare = 0.2
    """On what each convolution reads, and on what the decoder tells."""

    @model_validator(mode="after")
    def _fits(self) -> "ConvolutionalConfig":
        if self.d_model % self.n_heads:
            raise ValueError(f"d_model ({self.d_model}) must be a multiple of n_heads ({self.n_heads}).")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size = {self.kernel_size} has no middle: give {self.kernel_size + 1}.")
        return self


def _kind(value: Any) -> str:
    """Which family settings are of: the Transformer, if they do not say."""
    return str(
        value.get("kind", "encoder-decoder") if isinstance(value, dict) else getattr(value, "kind", "encoder-decoder")
    )


AnyModelConfig = Annotated[
    Annotated[TransformerConfig, Tag("encoder-decoder")]
    | Annotated[RecurrentConfig, Tag("recurrent")]
    | Annotated[ConvolutionalConfig, Tag("convolutional")],
    Discriminator(_kind),
]
"""The settings of a model of any family, by its `kind`."""
