"""A recipe from nothing but a corpus and a machine: size, vocabulary, dropout, batch and steps, each with its reason."""

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sightline.data.settings import DataSettings
from sightline.data.sources import CorpusSettings, read_pairs
from sightline.data.tokenizers import TokenizerSettings
from sightline.decoding.protocol import DecodingSettings
from sightline.errors import DataError
from sightline.metrics.scripts import tokenizer_for
from sightline.models.build import ModelConfig
from sightline.training.devices import best_device
from sightline.training.recipe import Recipe
from sightline.training.settings import TrainSettings

COUNTED = 1_000_000
"""Pairs read to measure a corpus; beyond them it is simply large."""
MINUTES = 60.0
"""Training time that a derived recipe plans for."""
TRAINING_SHARE = 0.9
"""Part of a run's time that is spent in steps; the rest validates and saves."""
GROWTH = 1.2
"""How many times as many tokens BPE-dropout of 0.1 makes of a sentence."""


@dataclass(frozen=True)
class Size:
    """A model size that suits a corpus of up to `pairs` pairs."""

    pairs: float
    name: str
    d_model: int
    n_heads: int
    d_ff: int
    layers: int
    dropout: float
    vocab_size: int
    epochs: int


SIZES = (
    Size(15_000, "tiny", 128, 4, 512, 3, 0.3, 4_000, 60),
    Size(60_000, "small", 256, 4, 1024, 3, 0.3, 8_000, 40),
    Size(300_000, "medium", 256, 4, 1024, 4, 0.2, 10_000, 20),
    Size(2_000_000, "base, four layers", 512, 8, 2048, 4, 0.1, 16_000, 12),
    Size(math.inf, "base (Vaswani et al. 2017)", 512, 8, 2048, 6, 0.1, 32_000, 8),
)


@dataclass(frozen=True)
class Measured:
    """What a first look at a corpus finds; `pairs` stops at `COUNTED`."""

    pairs: int
    words: float
    """Mean words of a target sentence; characters over 1.6 where no blanks are written."""


def measure(corpus: CorpusSettings, base: Path) -> Measured:
    """Count a corpus. Raises DataError if it is empty or anything is wrong with it."""
    pairs = words = 0
    first = (row.tgt for row in read_pairs(corpus, base))
    has_blanks = tokenizer_for(first, corpus.tgt_lang) == "13a"
    for row in islice(read_pairs(corpus, base), COUNTED):
        pairs += 1
        words += len(row.tgt.split()) if has_blanks else len(row.tgt) / 1.6
    if not pairs:
        raise DataError("The corpus has no sentence pairs. Give files with one sentence a line.")
    return Measured(pairs, words / pairs)


def derive(corpus: CorpusSettings, found: Measured, name: str, rate: float | None = None) -> tuple[Recipe, list[str]]:
    """A whole recipe for this corpus, of which `found` was measured, and a sentence for each choice. `rate` is the target
    tokens a second that this machine trains (`training_rate`); without it, all epochs are planned, however long they take.

    Raises DataError if the corpus is too small to hold sentences back.
    """
    if found.pairs < 50:
        raise DataError(
            f"The corpus has {found.pairs} sentence pairs, and some must be set aside for validation and test. "
            "Give at least 50; a useful translator needs thousands."
        )
    size = next(size for size in SIZES if found.pairs <= size.pairs)
    held = max(10, min(1000, found.pairs // 20))
    vocab_size = min(size.vocab_size, max(250, 250 * round(math.sqrt(found.pairs * found.words) / 25)))
    dropout = 0.1 if found.pairs <= 300_000 else 0.0
    tokens = 1.4 * (found.words + 1) * found.pairs * (GROWTH if dropout else 1.0)
    model = ModelConfig(
        d_model=size.d_model,
        n_heads=size.n_heads,
        d_ff=size.d_ff,
        n_encoder_layers=size.layers,
        n_decoder_layers=size.layers,
        norm_at="pre",
        embedding_dropout=size.dropout,
        residual_dropout=size.dropout,
        ffn_dropout=size.dropout / 3,
    )
    batch_tokens = 2 ** round(math.log2(max(1024, min(8192, tokens / 100))))
    if best_device().type == "cuda":
        batch_tokens *= 4
    wanted = size.epochs * tokens / batch_tokens
    seconds = 0.0 if rate is None else batch_tokens / (rate * TRAINING_SHARE)  # of a step
    affordable = MINUTES * 60 / seconds if seconds else math.inf
    steps = max(200, int(min(wanted, affordable)))
    every = max(50, steps // 20)
    recipe = Recipe(
        name=name,
        description=f"Derived from a corpus of {_counted(found.pairs)} pairs.",
        data=DataSettings(train=[corpus], hold_out_valid=held, hold_out_test=held),
        tokenizer=TokenizerSettings(vocab_size=vocab_size, dropout=dropout),
        model=model,
        train=TrainSettings(
            batch_tokens=batch_tokens,
            max_steps=steps,
            lr=0.0025 if size.d_model == 128 else 0.0015 if size.d_model == 256 else 0.0007,
            schedule="cosine",
            warmup=max(50, min(4000, steps // 12)),
            ema=0.999 if steps > 2000 else 0.99,
            validate_every=every,
            max_validated=500,
        ),
        decoding=DecodingSettings(beam=4, length_norm="average", length_penalty=1.0),
    )
    reasons = [
        f"{_counted(found.pairs)} pairs of about {found.words:.0f} words: a {size.name} model, {size.d_model} wide, "
        f"{size.layers}+{size.layers} layers (model.*)",
        f"{held} source sentences each for validation and test, no sentence of theirs in training (data.hold_out_*)",
        f"{vocab_size} subwords, so that most are seen often enough to be learned (tokenizer.vocab_size)",
        f"dropout {size.dropout}: the fewer sentences, the more (model.*_dropout)",
        f"batches of {batch_tokens} tokens, about {tokens / batch_tokens:.0f} steps an epoch (train.batch_tokens)",
        f"{steps} steps: "
        + (
            f"{size.epochs} epochs"
            + (f", about {steps * seconds / 60:.0f} minutes here" if seconds else "; fewer, if they take over an hour")
            if wanted <= affordable
            else f"about {MINUTES:.0f} minutes here; {wanted:.0f} would be better, if you have the time"
        )
        + " (train.max_steps)",
    ]
    return recipe, reasons


def _counted(pairs: int) -> str:
    return f"{pairs:,}" if pairs < COUNTED else f"at least {pairs:,}"
