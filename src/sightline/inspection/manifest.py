"""What a capture says about itself: the model, the sentence, the search, the heads, the tensors that it holds.

Field by field the JSON of a `.ttrace` file, version 1.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT, VERSION = "ttrace", 1

StackName = Literal["encoder.self_attn", "decoder.self_attn", "decoder.cross_attn"]


@dataclass(frozen=True)
class StackInfo:
    """The attention of one kind, of all layers."""

    name: StackName
    layers: int
    heads: list[int]
    """Of each layer."""
    kv_heads: list[int]
    """Of each layer: fewer in grouped-query attention."""
    d_head: int
    q: Literal["src", "tgt"]
    """Whose tokens look."""
    k: Literal["src", "tgt"]
    """Whose tokens are looked at."""
    causal: bool
    """Whether a token sees none after it."""


@dataclass(frozen=True)
class ModelInfo:
    """How the model is built: of a Transformer all that is needed to compute with its weights. What a family has not is None."""

    name: str
    family: Literal["encoder-decoder", "recurrent", "convolutional"]
    """The `kind` of config.toml; captures that do not say it are of Transformers, encoder-decoder."""
    d_model: int
    vocab: dict[str, int]
    """Tokens of the two sides: `src`, `tgt`."""
    encoder_layers: int
    decoder_layers: int
    embed_scale: float
    """What embeddings are multiplied by: sqrt(d_model)."""
    tied: dict[str, bool]
    """`src_tgt`: one embedding for both sides; `out`: the target's embedding is also the output layer."""
    core: dict[str, Any]
    """`kind` as in config.toml, and `scale`, 1 / sqrt(d_head) for the scaled dot product, else None."""
    parameters: int
    parameters_by_part: dict[str, int]
    stacks: list[StackInfo]
    """None of a model without attention."""
    weights_sha256: str
    position: str | None = None
    d_ff: int | None = None
    norm_at: str | None = None
    norm: str | None = None
    eps: float | None = None
    activation: str | None = None
    cell: str | None = None
    """elman, gru or lstm."""
    d_state: int | None = None
    """Width of the states, of each direction."""
    bidirectional: bool | None = None
    """Whether the encoder reads in both directions."""
    bridge: str | None = None
    """Where the decoder's first state comes from, as in config.toml."""
    attend: str | None = None
    """Which state asks, `before`, `between` or `after`; None without attention."""
    input_feeding: bool | None = None
    """Whether what was seen is part of the next step's input."""
    kernel_size: int | None = None
    """Tokens that a convolution sees at a time."""


@dataclass(frozen=True)
class Token:
    """A token and where it comes from."""

    id: int
    piece: str
    """As in the vocabulary; ▁ marks a blank."""
    text: str
    """What it stands for; nothing for a special one. Every byte of a character has the whole character."""
    special: bool
    """A tag, the begin, the end, or an unknown piece."""
    word: int
    """Which of the side's words it is part of; -1 for a special one."""
    chars: tuple[int, int] | None
    """Where in the side's text it stands; None for what is no part of it."""
    partial: bool = False
    """It is only some of the bytes of a character."""


@dataclass(frozen=True)
class Side:
    """A text and its tokens."""

    text: str
    lang: str
    tokens: list[Token]
    words: list[str]


@dataclass(frozen=True)
class Candidate:
    """A token that could come next, and its log-probability in nats."""

    id: int
    text: str
    lp: float


@dataclass(frozen=True)
class Live:
    """An unfinished hypothesis at a step: its node, its log-probability, and what the model said comes next."""

    node: int
    cum: float
    topk: list[Candidate]
    rest: float
    """The probability of all other tokens together."""


@dataclass(frozen=True)
class Step:
    """The search at step `t`, from 1."""

    t: int
    live: list[Live]


@dataclass
class Node:
    """A hypothesis, told by its last token and the node before; node 0 is the begin."""

    id: int
    parent: int
    t: int
    token: int
    text: str
    lp: float
    """Log-probability of the token."""
    cum: float
    """Of the whole hypothesis."""
    state: Literal["live", "pruned", "finished"]
    """`live`: it was kept in the beam; `pruned`: it was looked at and not kept; `finished`: it ended there."""


@dataclass(frozen=True)
class Finished:
    """A result of the search: `tokens` without begin and end, and the score by which results are compared."""

    node: int
    tokens: list[int]
    text: str
    lp: float
    score: float


@dataclass(frozen=True)
class Decode:
    """How the translation was found."""

    method: Literal["greedy", "beam", "forced"]
    beam: int
    length_penalty: float
    length_norm: str
    max_len: int
    """The most tokens that were allowed, the end counted."""
    steps: list[Step]
    nodes: list[Node]
    finished: list[Finished]
    """Best first."""
    chosen: int
    """Which of `finished` the rest of the capture shows."""


@dataclass(frozen=True)
class HeadStat:
    """What a head does in this sentence. Weights are means over queries, from 0 to 1."""

    stack: StackName
    layer: int
    head: int
    entropy: float
    """In units of the logarithm of the number of visible keys: 0 one key, 1 all alike."""
    max: float
    """The mean of each row's largest weight."""
    prev: float
    next: float
    self: float
    same: float
    """On other tokens that are the same as the query's."""
    first: float
    eos: float
    name: str | None
    """What it does, if it does that clearly: see `heads.name_of`."""
    score: float
    """What earned the name; without a name the best that there is."""
    align: dict[str, float] | None = None
    """Of cross-attention, as a word alignment: `sharp`, `mono`."""


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of the capture."""

    dtype: str
    shape: list[int]
    axes: list[str]


@dataclass
class Manifest:
    """All of it. Addresses are the model's own, as in `decoder.2.cross_attn.weights`."""

    id: str
    created: str
    tool: dict[str, str]
    model: ModelInfo
    request: dict[str, Any]
    src: Side
    tgt: Side
    """What the decoder reads: begin, y1 ... ym."""
    labels: list[Token]
    """What it is to say: y1 ... ym, end."""
    translation: str
    decode: Decode
    heads: list[HeadStat]
    tensors: dict[str, TensorInfo]
    checks: dict[str, float]
    """Largest deviations: see `capture.Checks`."""
    warnings: list[dict[str, Any]] = field(default_factory=list)
    format: str = FORMAT
    version: int = VERSION
