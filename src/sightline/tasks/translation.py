"""Translation: sentence pairs in, a model that translates out."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from sightline.data.batches import Batch, BatchPlan, collate, generator_of, pad
from sightline.data.evaluation import Example
from sightline.data.prepared import Prepared
from sightline.data.text import Pairs
from sightline.data.tokenizers import Tokenizer
from sightline.decoding.beam import beam_search
from sightline.decoding.greedy import greedy
from sightline.decoding.protocol import DecodingSettings, Hypothesis
from sightline.metrics.translation import MetricSettings, TranslationScores, corpus_bleu, evaluate_translations
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.tasks.task import Evaluation, Loss


@dataclass(frozen=True)
class Translated:
    """One translation of one sentence."""

    text: str
    score: float
    """Log-probability, normalised by length as the decoding settings say."""
    hypothesis: Hypothesis
    """The tokens and what the model gave each of them."""
    truncated: bool = False
    """The source had more tokens than the model takes; the rest was left out."""


def translate(
    model: EncoderDecoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    to: str | Sequence[str] | None,
    settings: DecodingSettings,
    max_len: int,
) -> list[list[Translated]]:
    """The `settings.n_best` best translations of each text, best first.

    Sentences of like length are translated together, `settings.batch_tokens` at a time; the order of `texts` is kept. An
    empty text gives one empty translation. `to` is the target language for models with target tags, one for all or one
    per text.
    """
    sources = tokenizer.encode_src(texts, to)
    cut = [len(ids) > max_len for ids in sources]
    sources = [[*ids[: max_len - 1], tokenizer.eos_id] if long else ids for ids, long in zip(sources, cut, strict=True)]
    results: list[list[Translated]] = [[Translated("", 0.0, Hypothesis([], 0.0, 0.0, [], True))] for _ in texts]
    todo = [i for i, text in enumerate(texts) if text.strip()]
    device = next(model.parameters()).device
    for group in length_groups([len(sources[i]) for i in todo], settings.batch_tokens // settings.beam):
        rows = [todo[k] for k in group]
        src = pad([sources[i] for i in rows], tokenizer.pad_id).to(device)
        found = [[h] for h in greedy(model, src, settings)] if settings.beam == 1 else beam_search(model, src, settings)
        for i, hypotheses in zip(rows, found, strict=True):
            results[i] = [Translated(tokenizer.decode_tgt(h.tokens), h.score, h, cut[i]) for h in hypotheses]
    return results


def length_groups(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of `lengths`, longest first, in groups whose padded size stays within `batch_tokens`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, batch_tokens // lengths[order[0]])
        yield order[:size]
        order = order[size:]


class TranslationTask:
    """The task of the encoder-decoder: see `tasks.task.Task`.

    `weights` says how often an epoch sees each corpus. Validations take at most `max_validated` sentences; those along the way
    translate with a beam of `validation_beam` and show `samples` of them, the final ones as `decoding` says.
    """

    def __init__(
        self,
        prepared: Prepared,
        *,
        seed: int,
        batch_tokens: int,
        label_smoothing: float,
        decoding: DecodingSettings,
        metric: MetricSettings,
        max_len: int,
        weights: Sequence[float] = (1.0,),
        max_validated: int = 2000,
        validation_beam: int = 1,
        samples: int = 2,
    ) -> None:
        self.prepared, self.tokenizer = prepared, prepared.tokenizer
        self.label_smoothing, self.decoding, self.metric = label_smoothing, decoding, metric
        self.seed, self.max_len, self.max_validated = seed, max_len, max_validated
        self.batch_tokens, self.samples, self.weights = batch_tokens, samples, weights
        self.quick = decoding.model_copy(update={"beam": validation_beam, "n_best": 1})
        self.pairs: Pairs = prepared.train()
        self.sampled = self.tokenizer.settings.dropout > 0
        budget = max(1, round(batch_tokens / (self._growth() if self.sampled else 1.0)))
        self.plan = BatchPlan(self.pairs.src_lengths, self.pairs.tgt_lengths, budget, seed, self.pairs.corpus, weights)

    def batches(self, split: str, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Batches of a split; those of "train" from batch number `start` of an epoch on."""
        if split != "train":
            yield from self._evaluation_batches(self.examples(split))
            return
        for index in self.plan.epoch(epoch, start):
            pairs = [self._sample(int(i), epoch) if self.sampled else self.pairs.pair(int(i)) for i in index]
            yield collate(pairs, index, self.tokenizer.pad_id, self.tokenizer.bos_id)

    def _growth(self) -> float:
        """How many times larger BPE-dropout makes a padded batch: batches are planned by the lengths without it."""
        step = max(1, len(self.pairs) // 20_000)
        lengths = self.pairs.src_lengths[::step], self.pairs.tgt_lengths[::step]
        plan = BatchPlan(*lengths, self.batch_tokens, self.seed, self.pairs.corpus[::step], self.weights)
        plain = sampled = 0
        for index in itertools.islice(plan.epoch(0), 5):
            src, tgt = zip(*(self._sample(int(i) * step, 0) for i in index), strict=True)
            plain += len(index) * max(side[index].max() for side in lengths)
            sampled += len(index) * max(map(len, src + tgt))
        return float(sampled / plain) if plain else 1.0

    def _sample(self, i: int, epoch: int) -> tuple[list[int], list[int]]:
        generator = generator_of(self.seed, epoch, i)
        src, tgt, to = self.pairs.text(i)
        found = self.tokenizer.sample_src(src, to or None, generator), self.tokenizer.sample_tgt(tgt, generator)
        return self._cut(found[0]), self._cut(found[1])

    def _cut(self, ids: list[int]) -> list[int]:
        """At most as many tokens as the model takes, eos the last."""
        return ids if len(ids) <= self.max_len else [*ids[: self.max_len - 1], self.tokenizer.eos_id]

    def examples(self, split: str) -> list[Example]:
        """The sentences of "valid" (at most `max_validated`, the same ones each time) or "test"."""
        examples = self.prepared.evaluation(split)
        return examples[: self.max_validated] if split == "valid" else examples

    def _evaluation_batches(self, examples: Sequence[Example]) -> Iterator[Batch]:
        """Each batch has one target language, so that sources can be exchanged within it without their tags."""
        src = self.tokenizer.encode_src([e.src for e in examples], [e.to for e in examples])
        tgt = self.tokenizer.encode_tgt([e.refs[0] for e in examples])
        src, tgt = ([self._cut(ids) for ids in side] for side in (src, tgt))
        for language in sorted({e.to for e in examples}):
            rows = [i for i, e in enumerate(examples) if e.to == language]
            for group in length_groups([max(len(src[i]), len(tgt[i])) for i in rows], self.batch_tokens):
                index = [rows[k] for k in group]
                pairs = [(src[i], tgt[i]) for i in index]
                yield collate(pairs, np.asarray(index), self.tokenizer.pad_id, self.tokenizer.bos_id)

    def loss(self, model: nn.Module, batch: Batch) -> Loss:
        """Label-smoothed cross-entropy summed over the target tokens, in nats."""
        return self._loss(model, batch, self.label_smoothing)

    def _loss(self, model: nn.Module, batch: Batch, smoothing: float) -> Loss:
        assert isinstance(model, EncoderDecoder)
        hidden = model.hidden(batch.src, batch.tgt_in)
        real = batch.tgt_out != model.pad_id
        return Loss(model.head.loss(hidden[real], batch.tgt_out[real], smoothing), batch.n_tgt)

    @torch.inference_mode()
    def evaluate(self, model: nn.Module, split: str, *, final: bool) -> Evaluation:
        """`loss` and `perplexity` per target token without smoothing; `loss_shuffled` with each sentence's source exchanged
        for another's, where there are two; and `bleu` of real translations: the mean over target languages where there are
        several, with `bleu_zh` and the like beside it.
        """
        examples = self.examples(split)
        translations = self._translations(model, examples, self.decoding if final else self.quick)
        figures = self.losses(model, split)
        bleu = {
            to: corpus_bleu(hyps, refs, lang=to or self.prepared.tgt_lang, settings=self.metric).score
            for to, (hyps, refs) in _by_language(translations, examples).items()
        }
        figures["bleu"] = sum(bleu.values()) / len(bleu)
        if len(bleu) > 1:
            figures |= {f"bleu_{to}": score for to, score in bleu.items()}
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
        """All scores of a split's translations, by target language ("" if the corpus has no tags)."""
        examples = self.examples(split)
        translations = self._translations(model, examples, self.decoding)
        return {
            to: evaluate_translations(hyps, refs, lang=to or self.prepared.tgt_lang, settings=self.metric)
            for to, (hyps, refs) in _by_language(translations, examples).items()
        }

    def _translations(self, model: nn.Module, examples: Sequence[Example], settings: DecodingSettings) -> list[str]:
        return self._translate(model, [e.src for e in examples], [e.to for e in examples], settings)

    def _translate(
        self, model: nn.Module, texts: Sequence[str], to: Sequence[str], settings: DecodingSettings
    ) -> list[str]:
        assert isinstance(model, EncoderDecoder)
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


def _by_language(
    translations: Sequence[str], examples: Sequence[Example]
) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Translations and their references, for each target language."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for hyp, example in zip(translations, examples, strict=True):
        hyps, refs = found.setdefault(example.to, ([], []))
        hyps.append(hyp)
        refs.append(list(example.refs))
    return dict(sorted(found.items()))


TASKS: dict[str, Callable[..., Any]] = {"translation": TranslationTask}
