"""A recipe from nothing but a corpus and a machine: size, vocabulary, dropout, batch and steps, each with its reason."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from sightline.data.settings import DataSettings
from sightline.data.sources import CorpusSettings, read_pairs
from sightline.data.survey import Progress
from sightline.data.tokenizers import TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.errors import ConfigError, DataError
from sightline.metrics.scripts import tokenizer_for
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.training.devices import best_device
from sightline.training.recipe import Recipe
from sightline.training.settings import TrainSettings

MEASURED = 1_000_000
"""Pairs whose words are counted; of more, only the number is."""
MINUTES = 60.0
"""Training time that a derived recipe plans for."""
TRAINING_SHARE = 0.9
"""Part of a run's time that is spent in steps; the rest validates and saves."""
GROWTH = 1.2
"""How many times as many tokens BPE-dropout of 0.1 makes of a sentence."""


Rate = Callable[[Recipe], float]
"""Target tokens a second that this machine trains a recipe's model."""


@dataclass(frozen=True)
class Size:
    """A model size, and the dropout and epochs that suit a corpus of up to `pairs` pairs, for which it is made."""

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
    """What a first look at a corpus finds."""

    pairs: int
    words: float
    """Mean words of a target sentence; characters over 1.6 where no blanks are written."""


@dataclass(frozen=True)
class Reason:
    """Why some settings were chosen, in words."""

    settings: tuple[str, ...]
    """How their names begin: `model.` stands for all of the model's."""
    text: str

    def said(self, given: Sequence[str] = ()) -> str:
        """The reason, and which of its settings `given` (NAME=VALUE) overrules."""
        overruled = [setting for setting in given if setting.startswith(self.settings)]
        names = ", ".join(f"{name}*" if name[-1] in "._" else name for name in self.settings)
        return f"{self.text} ({names})" + (f"; you gave {', '.join(overruled)}" if overruled else "")


def measure(corpus: CorpusSettings, base: Path, progress: Progress | None = None) -> Measured:
    """Count a corpus. Raises DataError if it is empty or anything is wrong with it."""
    pairs = words = 0
    first = (row.tgt for row in read_pairs(corpus, base))
    has_blanks = tokenizer_for(first, corpus.tgt_lang) == "13a"
    for row in read_pairs(corpus, base):
        if pairs < MEASURED:
            words += len(row.tgt.split()) if has_blanks else len(row.tgt) / 1.6
        pairs += 1
        if progress is not None and pairs % 100_000 == 0:
            progress("counting the corpus", pairs, None)
    if not pairs:
        raise DataError("The corpus has no sentence pairs. Give files with one sentence a line.")
    return Measured(pairs, words / min(pairs, MEASURED))


def derive(
    corpus: CorpusSettings, found: Measured, name: str, rate: Rate | None = None, minutes: float = MINUTES
) -> tuple[Recipe, list[Reason]]:
    """A whole recipe for this corpus, of which `found` was measured, that trains for at most `minutes` (or all the epochs
    that suit the corpus, if `rate` is not known), and a reason for each choice.

    The size is the one for a corpus like this, or the largest smaller one that sees a target token for each of its parameters
    in that time and of which `rate` does not raise a ConfigError, for want of memory. Raises DataError if the corpus is too
    small to hold sentences back, and that ConfigError if the smallest model has it, too.
    """
    if found.pairs < 50:
        raise DataError(
            f"The corpus has {found.pairs} sentence pairs, and some must be set aside for validation and test. "
            "Give at least 50; a useful translator needs thousands."
        )
    suited = at = next(k for k, size in enumerate(SIZES) if found.pairs <= size.pairs)
    slow: list[str] = []
    too_large: list[str] = []
    while True:
        recipe = _sized(corpus, found, name, SIZES[at], SIZES[suited])
        try:
            affordable = None if rate is None else rate(recipe) * TRAINING_SHARE * 60 * minutes
        except ConfigError:
            if at == 0:
                raise
            too_large.append(SIZES[at].name)
        else:
            enough = min(_wanted(found, SIZES[suited]), _parameters(recipe))
            if affordable is None or affordable >= enough or at == 0:
                return _planned(recipe, found, SIZES[at], SIZES[suited], affordable, minutes, slow, too_large)
            slow.append(SIZES[at].name)
        at -= 1


def _sized(corpus: CorpusSettings, found: Measured, name: str, size: Size, suited: Size) -> Recipe:
    """Everything but how long to train."""
    held = max(10, min(1000, found.pairs // 20))
    vocab_size = min(size.vocab_size, max(250, 250 * round(math.sqrt(found.pairs * found.words) / 25)))
    batch_tokens = 2 ** round(math.log2(max(1024, min(8192, _epoch(found) / 100))))
    if best_device().type == "cuda":
        batch_tokens *= 4
    return Recipe(
        name=name,
        description=f"Derived from a corpus of {found.pairs:,} pairs.",
        data=DataSettings(train=[corpus], hold_out_valid=held, hold_out_test=held),
        tokenizer=TokenizerSettings(vocab_size=vocab_size, dropout=_bpe_dropout(found)),
        model=TransformerConfig(
            d_model=size.d_model,
            n_heads=size.n_heads,
            d_ff=size.d_ff,
            n_encoder_layers=size.layers,
            n_decoder_layers=size.layers,
            norm_at="pre",
            embedding_dropout=suited.dropout,
            residual_dropout=suited.dropout,
            ffn_dropout=suited.dropout / 3,
        ),
        train=TrainSettings(
            batch_tokens=batch_tokens,
            lr=0.0025 if size.d_model == 128 else 0.0015 if size.d_model == 256 else 0.0007,
            schedule="cosine",
            max_validated=500,
        ),
        decoding=DecodingSettings(beam=4, length_norm="average", length_penalty=1.0),
    )


def _planned(
    recipe: Recipe,
    found: Measured,
    size: Size,
    suited: Size,
    affordable: float | None,
    minutes: float,
    slow: Sequence[str],
    too_large: Sequence[str],
) -> tuple[Recipe, list[Reason]]:
    """With as many steps as `affordable` target tokens and the wanted ones allow, and the reasons for everything."""
    wanted, batch = _wanted(found, suited), cast(int, recipe.train.batch_tokens)
    tokens = wanted if affordable is None else min(wanted, affordable)
    steps = max(10, int(tokens / batch))
    took = 0.0 if not affordable else minutes * steps * batch / affordable
    if affordable is None:
        why = f"{suited.epochs} epochs"
    elif wanted <= affordable:
        why = f"{suited.epochs} epochs, about {took:.0f} minutes here"
    else:
        why = f"about {took:.0f} minutes here; {wanted / batch:.0f} would be better, if you have the time"
    train = recipe.train.model_copy(
        update={
            "max_steps": steps,
            "warmup": min(4000, max(50, steps // 12), steps // 4),
            "ema": 0.999 if steps > 2000 else 0.99,
            "validate_every": min(max(50, steps // 20), steps),
        }
    )
    name = f"a {size.name} model, {size.d_model} wide, {size.layers}+{size.layers} layers"
    if too_large:
        name += f"; a larger one ({', '.join(too_large)}) needs more memory than is free"
    if slow:
        less = "would see less than a word for each of its parameters"
        name += f"; a larger one ({', '.join(slow)}) {less} in {minutes:.0f} minutes here"
    bpe_dropout = recipe.tokenizer.dropout
    return recipe.model_copy(update={"train": train}), [
        Reason(("model.",), f"{found.pairs:,} pairs of about {found.words:.0f} words: {name}"),
        Reason(
            ("data.hold_out_",),
            f"{recipe.data.hold_out_valid} source sentences each for validation and test, no sentence of theirs in training",
        ),
        Reason(
            ("tokenizer.vocab_size",),
            f"{recipe.tokenizer.vocab_size} subwords, so that most are seen often enough to be learned",
        ),
        Reason(
            ("tokenizer.dropout",),
            f"words are cut differently each time (BPE-dropout {bpe_dropout}), as few sentences ask for"
            if bpe_dropout
            else "words are always cut the same way, for there are many sentences",
        ),
        Reason(
            ("model.embedding_dropout", "model.residual_dropout", "model.ffn_dropout"),
            f"dropout {suited.dropout}: the fewer sentences, the more",
        ),
        Reason(("train.batch_tokens",), f"batches of {batch} tokens, about {_epoch(found) / batch:.0f} steps an epoch"),
        Reason(("train.lr",), f"learning rate {train.lr}: the wider the model, the lower"),
        Reason(
            ("train.warmup", "train.ema", "train.validate_every"),
            f"it rises for {train.warmup} steps, weights are averaged along the way, and validated every {train.validate_every}",
        ),
        Reason(("train.max_steps", "train.max_minutes"), f"{steps} steps: {why}"),
    ]


def _bpe_dropout(found: Measured) -> float:
    return 0.1 if found.pairs <= 300_000 else 0.0


def _epoch(found: Measured) -> float:
    """Target tokens of an epoch."""
    return 1.4 * (found.words + 1) * found.pairs * (GROWTH if _bpe_dropout(found) else 1.0)


def _wanted(found: Measured, suited: Size) -> float:
    """Target tokens of all the epochs that suit the corpus."""
    return suited.epochs * _epoch(found)


def _parameters(recipe: Recipe) -> int:
    with torch.device("meta"):
        model = build_model(recipe.model, recipe.tokenizer.vocab_size, recipe.tokenizer.vocab_size)
    return sum(p.numel() for p in model.parameters())
