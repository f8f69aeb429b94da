"""Translation: sentence pairs in, a model that translates out."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.data.batches import (
    SECTION,
    Batch,
    BatchPlan,
    Ids,
    Packed,
    Side,
    collate,
    collate_packed,
    generator_of,
    pack,
    padded_size,
    regroup,
)
from sightline.data.evaluation import Example
from sightline.data.prepared import Prepared
from sightline.data.text import Pairs
from sightline.decoding.settings import DecodingSettings
from sightline.metrics.settings import MetricSettings
from sightline.metrics.translation import TranslationScores, corpus_bleu, evaluate_translations
from sightline.models.sequence_to_sequence import AnyModel, Packing, SequenceToSequence
from sightline.tasks.search import length_groups, shortened, translate
from sightline.tasks.task import Evaluation, Loss


def translation_loss(
    model: AnyModel,
    src: Int[Tensor, "b s"],
    tgt_in: Int[Tensor, "b t"],
    tgt_out: Int[Tensor, "b t"],
    smoothing: float = 0.0,
    r_drop: float = 0.0,
    real: Int[Tensor, " n"] | None = None,
    packing: Packing | None = None,
) -> Float[Tensor, ""]:
    """Label-smoothed cross-entropy in nats, summed over the target tokens that are not padding: those at the places `real` of
    `tgt_out`, which are looked for if they are not given. With `packing`, rows hold several sentences each, and nothing is looked
    for, so that all batches of a size take the same operations.

    With `r_drop`, the alpha of R-Drop, the sentences pass twice with different dropout: see `VocabularyHead.r_drop_loss`.
    """
    targets, counts = tgt_out.flatten(), None
    if r_drop:
        packing = (
            None if packing is None else Packing(packing.src_segments.repeat(2, 1), packing.tgt_segments.repeat(2, 1))
        )
        hidden = model.hidden(src.repeat(2, 1), tgt_in.repeat(2, 1), packing).unflatten(0, (2, -1)).flatten(1, 2)
    else:
        hidden = model.hidden(src, tgt_in, packing).flatten(0, 1)
    if packing is not None:
        counts = (targets != model.pad_id)[:, None].to(hidden.dtype)
    else:
        real = (targets != model.pad_id).nonzero()[:, 0] if real is None else real
        hidden, targets = hidden.index_select(-2, real), targets[real]
    if r_drop:
        return model.head.r_drop_loss(hidden, targets, smoothing, r_drop, counts)
    return model.head.loss(hidden, targets, smoothing, counts)


class TranslationTask:
    """The task of the encoder-decoder: see `tasks.task.Task`.

    `weights` says how often an epoch sees each corpus. Validations take at most `max_validated` sentences; those along the way
    translate with a beam of `validation_beam` and show `samples` of them, the final ones as `decoding` says.

    Batches for training are padded, of sentences of like length, or `packed`, all of one shape: see `data.batches.pack`.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        seed: int,
        batch_tokens: int,
        label_smoothing: float,
        r_drop: float = 0.0,
        decoding: DecodingSettings,
        metric: MetricSettings,
        max_len: int,
        weights: Sequence[float] = (1.0,),
        max_validated: int = 2000,
        validation_beam: int = 1,
        samples: int = 2,
        packed: bool = False,
    ) -> None:
        self.prepared, self.tokenizer = prepared, prepared.tokenizer
        self.label_smoothing, self.r_drop = label_smoothing, r_drop
        self.decoding, self.metric = decoding, metric
        self.seed, self.max_len, self.max_validated = seed, max_len, max_validated
        self.batch_tokens, self.samples, self.weights = batch_tokens, samples, weights
        self.quick = decoding.model_copy(update={"beam": validation_beam, "n_best": 1})
        self.pairs: Pairs = prepared.train()
        self.sampled = self.tokenizer.settings.dropout > 0
        growth, self.section = self._look_ahead() if self.sampled else (1.0, 1)
        budget = max(1, round(batch_tokens / growth))
        self.width = self._row_width() if packed else None
        self.plan = BatchPlan(self.pairs.src_lengths, self.pairs.tgt_lengths, budget, seed, self.pairs.corpus, weights)

    def batches(self, split: str, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of a split; those of "train" from batch number `start` of an epoch on."""
        if split != "train":
            yield from self._evaluation_batches(self.examples(split))
        else:
            yield from (make() for make in self.training_batches(epoch, start))

    def training_batches(self, epoch: int, start: int = 0) -> Iterator[Callable[[], Batch]]:
        """What makes each of the batches of an epoch, from number `start` on: those that are not called cost next to nothing."""
        if self.width is not None:
            rows = max(1, self.batch_tokens // self.width)
            for packed in itertools.islice(pack(self._pairs_of(epoch, self.width), rows, self.width), start, None):
                yield partial(self._collate_packed, packed)
        elif self.sampled:
            yield from self._sampled_batches(epoch, start)
        else:
            for index in self.plan.epoch(epoch, start):
                yield partial(self._collate_planned, index)

    def _collate_packed(self, rows: Packed) -> Batch:
        assert self.width is not None
        return collate_packed(rows, self.width, self.tokenizer.pad_id, self.tokenizer.bos_id)

    def _collate_planned(self, index: np.ndarray) -> Batch:
        return self._collate([self.pairs.pair(int(i)) for i in index], index)

    def _row_width(self) -> int:
        """Tokens of a packed row: a multiple of 64, at least 128, and enough for the longest sentence."""
        longest = max(int(self.pairs.src_lengths.max()), int(self.pairs.tgt_lengths.max()))
        longest = min(self.max_len, 2 * longest if self.sampled else longest)  # BPE-dropout makes them longer
        return max(128, -(-longest // 64) * 64)

    def _pairs_of(self, epoch: int, width: int) -> Iterator[tuple[int, Ids]]:
        """The pairs of an epoch, shuffled, none with more than `width` tokens."""
        for i in self.plan.order(epoch).tolist():
            src, tgt = self._sample(i, epoch) if self.sampled else self.pairs.pair(i)
            yield i, (self._cut(src, width), self._cut(tgt, width))

    def _sampled_batches(self, epoch: int, start: int) -> Iterator[Callable[[], Batch]]:
        """Batches of the pieces that BPE-dropout draws: those of some batches of the plan, sorted by their own lengths."""
        section, skip = divmod(start, self.section)
        planned = self.plan.epoch(epoch, section * self.section)
        while held := list(itertools.islice(planned, self.section)):
            index = np.concatenate(held)
            pairs = [self._sample(int(i), epoch) for i in index]
            batches = regroup(*_lengths(pairs), len(held))
            order = np.random.default_rng((self.seed, epoch, section + 1)).permutation(len(batches))
            for k in order[skip:]:
                yield partial(self._collate, [pairs[row] for row in batches[k]], index[batches[k]])
            section, skip = section + 1, 0

    def _collate(self, pairs: Sequence[Ids], index: np.ndarray) -> Batch:
        return collate(pairs, index, self.tokenizer.pad_id, self.tokenizer.bos_id)

    def _look_ahead(self) -> tuple[float, int]:
        """How many times larger BPE-dropout makes a padded batch, for batches are planned by the lengths without it; and how
        many batches make a `SECTION`.
        """
        some = np.arange(0, len(self.pairs), max(1, len(self.pairs) // 20_000))
        chance = np.asarray(self.weights)[np.asarray(self.pairs.corpus[some])]
        generator = np.random.default_rng((self.seed, 0))
        some = generator.choice(some, min(2_000, len(some)), p=chance / chance.sum())
        planned = self.pairs.src_lengths[some], self.pairs.tgt_lengths[some]
        drawn = _lengths([self._sample(int(i), 0) for i in some])
        plain, sampled = (padded_size(*found, regroup(*found, min(32, len(some)))) for found in (planned, drawn))
        each = self.batch_tokens / np.maximum(*drawn).mean()  # pairs of a batch
        return sampled / plain, max(8, round(SECTION / each))

    def _sample(self, i: int, epoch: int) -> Ids:
        generator = generator_of(self.seed, epoch, i)
        src, tgt, to = self.pairs.text(i)
        found = self.tokenizer.sample_src(src, to or None, generator), self.tokenizer.sample_tgt(tgt, generator)
        return self._cut(found[0], self.max_len), self._cut(found[1], self.max_len)

    def _cut(self, ids: Side, most: int) -> Side:
        return shortened(ids, most, self.tokenizer.eos_id)

    def examples(self, split: str) -> list[Example]:
        """The sentences of "valid" (at most `max_validated`, from everywhere in it, the same ones each time) or "test"."""
        examples = self.prepared.evaluation(split)
        if split != "valid" or len(examples) <= self.max_validated:
            return examples
        return [examples[k * len(examples) // self.max_validated] for k in range(self.max_validated)]

    def _evaluation_batches(self, examples: Sequence[Example]) -> Iterator[Batch]:
        """Each batch has one direction, so that sources can be exchanged within it without their tags."""
        src = self.tokenizer.encode_src([e.src for e in examples], [e.to for e in examples])
        tgt = self.tokenizer.encode_tgt([e.refs[0] for e in examples])
        src, tgt = ([self._cut(ids, self.max_len) for ids in side] for side in (src, tgt))
        for direction in sorted({e.direction for e in examples}):
            rows = [i for i, e in enumerate(examples) if e.direction == direction]
            for group in length_groups([max(len(src[i]), len(tgt[i])) for i in rows], self.batch_tokens):
                index = [rows[k] for k in group]
                pairs = [(src[i], tgt[i]) for i in index]
                yield self._collate(pairs, np.asarray(index))

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """`translation_loss` with the settings of the training."""
        return self._loss(model, batch, self.label_smoothing, self.r_drop)

    def _loss(self, model: nn.Module, batch: Batch, smoothing: float, r_drop: float = 0.0) -> Loss:
        assert isinstance(model, SequenceToSequence)
        given = batch.src, batch.tgt_in, batch.tgt_out
        packing = None if batch.segments is None else Packing(*batch.segments)
        return Loss(translation_loss(model, *given, smoothing, r_drop, batch.real, packing), batch.n_tgt)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: str, *, final: bool) -> Evaluation:
        """`loss` and `perplexity` per target token without smoothing; `loss_shuffled` with each sentence's source exchanged
        for another's, where there are two; and `bleu` of real translations: the mean over directions where there are
        several, with `bleu_en-zh` and the like beside it.
        """
        examples = self.examples(split)
        translations = self._translations(model, examples, self.decoding if final else self.quick)
        figures = self.losses(model, split)
        bleu = {
            direction: corpus_bleu(hyps, refs, lang=lang or self.prepared.tgt_lang, settings=self.metric).score
            for direction, (hyps, refs, lang) in _by_direction(translations, examples).items()
        }
        figures["bleu"] = sum(bleu.values()) / len(bleu)
        if len(bleu) > 1:
            figures |= {f"bleu_{direction}": score for direction, score in bleu.items()}
        shown = min(self.samples, len(examples))
        spread = [k * len(examples) // shown for k in range(shown)]
        return Evaluation(figures, [(examples[k].src, translations[k], examples[k].refs[0]) for k in spread])

    @torch.inference_mode()
    def losses(self, model: nn.Module, split: str) -> dict[str, float]:
        """Cross-entropy per target token with the right sources and, where there are two to exchange, with wrong ones."""
        total = cost = 0.0
        count = exchanged = 0
        device = next(model.parameters()).device
        for batch in self._evaluation_batches(self.examples(split)):
            batch = batch.to(device)
            loss = self._loss(model, batch, 0.0)
            total, count = total + float(loss.total), count + loss.count
            if len(batch.index) > 1:
                other = replace(batch, src=batch.src.roll(1, 0))
                cost += float(self._loss(model, other, 0.0).total) - float(loss.total)
                exchanged += loss.count
        mean = total / max(1, count)
        figures = {"loss": mean, "perplexity": float(np.exp(min(mean, 700.0)))}
        return {**figures, "loss_shuffled": mean + cost / exchanged} if exchanged else figures

    def scores(self, model: nn.Module, split: str) -> dict[str, TranslationScores]:
        """All scores of a split's translations, by direction ("" if the corpus has no tags)."""
        examples = self.examples(split)
        translations = self._translations(model, examples, self.decoding)
        return {
            direction: evaluate_translations(hyps, refs, lang=lang or self.prepared.tgt_lang, settings=self.metric)
            for direction, (hyps, refs, lang) in _by_direction(translations, examples).items()
        }

    def _translations(self, model: nn.Module, examples: Sequence[Example], settings: DecodingSettings) -> list[str]:
        return self._translate(model, [e.src for e in examples], [e.to for e in examples], settings)

    def _translate(
        self, model: nn.Module, texts: Sequence[str], to: Sequence[str], settings: DecodingSettings
    ) -> list[str]:
        assert isinstance(model, SequenceToSequence)
        return [best[0].text for best in translate(model, self.tokenizer, texts, to, settings, self.max_len)]

    def describe(self, batch: Batch) -> str:
        """How large a batch is, and its first pair, to be read by people."""
        src, tgt = (
            self.tokenizer.decode_src(batch.src[0].tolist()),
            self.tokenizer.decode_tgt(batch.tgt_out[0].tolist()),
        )
        size = f"{len(batch.index)} pairs of up to {batch.tgt_out.shape[1]} tokens"
        return f"{size}, the first of them {src[:200]!r} -> {tgt[:200]!r}"

    def predict(self, model: nn.Module, raw: list[str]) -> list[str]:
        """Translations of raw sentences, into the first target language."""
        tags = self.tokenizer.tags
        return self._translate(model, raw, [tags[0] if tags else ""] * len(raw), self.decoding)


def _lengths(pairs: Sequence[Ids]) -> tuple[np.ndarray, np.ndarray]:
    src, tgt = (np.array([len(pair[side]) for pair in pairs]) for side in (0, 1))
    return src, tgt


def _by_direction(
    translations: Sequence[str], examples: Sequence[Example]
) -> dict[str, tuple[list[str], list[list[str]], str]]:
    """Translations, their references and their language, for each direction."""
    found: dict[str, tuple[list[str], list[list[str]], str]] = {}
    for hyp, example in zip(translations, examples, strict=True):
        hyps, refs, _ = found.setdefault(example.direction, ([], [], example.to))
        hyps.append(hyp)
        refs.append(list(example.refs))
    return dict(sorted(found.items()))


TASKS: dict[str, Callable[..., Any]] = {"translation": TranslationTask}
