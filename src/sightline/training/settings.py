"""How to train: every setting with its meaning."""

from typing import Annotated, Literal

from pydantic import Field

from sightline.config import Settings

Decay = Annotated[float, Field(ge=0, lt=1)]


class TrainSettings(Settings):
    """How to train."""

    seed: int = Field(default=1, ge=0)
    """Everything random follows from it."""
    batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = 4096
    """Tokens of one batch, padding included, on the longer side; auto: as many as the free memory takes."""
    accumulate: int = Field(default=1, ge=1)
    """Batches that are summed up before a step; the gradient is exact by token count."""
    max_steps: int = Field(default=10_000, ge=1)
    """Steps until the end."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Minutes of training until the end, if that comes before `max_steps`; depends on the machine, so two runs may differ."""
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """adam, adamw, or muon: orthogonalised momentum for the matrices of hidden layers, AdamW for the rest."""
    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate; none: the paper's, d_model^-0.5 warmup^-0.5."""
    schedule: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """inverse_sqrt (the paper), cosine (down to the last step, or to the last minute if minutes end it) or constant, each after a
    linear warm-up."""
    warmup: int = Field(default=4000, ge=0)
    """Steps of warm-up."""
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    """Adam's decay rates."""
    eps: float = Field(default=1e-9, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(default=0.0, ge=0)
    """On matrices."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 for none."""
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    """Share of each target spread over the vocabulary."""
    r_drop: float = Field(default=0.0, ge=0)
    """Weight of R-Drop: each batch passes twice with different dropout, and what is predicted should agree; 0 for none."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the computation; weights are float32 all the same. auto measures which is fastest here. fp16 is for GPUs
    without bf16: its loss is scaled up, so that small gradients are not lost, and the scale found while training."""
    compile: bool = False
    """On a GPU: sentences packed into rows, blocks compiled (half a minute at the start, with Triton and a C compiler), steps
    recorded and replayed. Experimental: compare its first thousand steps with those of a run without."""
    threads: int = Field(default=0, ge=0)
    """Processor threads; 0: all cores."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of a moving average of the weights, which is then validated and kept; 0 for none."""
    average: int = Field(default=0, ge=0)
    """Average the weights of the last so many validations at the end, if that is better on the validation set; 0 for none."""
    validate_every: int = Field(default=500, ge=1)
    """Steps between validations."""
    best_by: Literal["bleu", "loss"] = "bleu"
    """What decides which weights are best, on the validation set."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many validations without a better one; none: go on to the end."""
    validation_beam: int = Field(default=1, ge=1)
    """Beam width of the validations while training; the final ones use the recipe's decoding."""
    max_validated: int = Field(default=2000, ge=1)
    """Sentences translated at each validation."""
    save_minutes: float = Field(default=10.0, gt=0)
    """Minutes between saves; every validation saves too."""
    samples: int = Field(default=2, ge=0)
    """Validation sentences whose translations are shown."""
    init: str | None = None
    """A bundle to start from: weights, vocabulary, text preparation and shape (`model` and `tokenizer` then say only dropout)."""
    tensorboard: bool = True
    """Write TensorBoard curves if the package is installed."""
