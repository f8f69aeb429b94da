"""How good translations are: BLEU, chrF and TER by sacreBLEU (Post 2018), each with its signature."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest, Result

from sightline.errors import DataError
from sightline.metrics.scripts import tokenizer_for
from sightline.metrics.settings import MetricSettings

UNSPACED = ("zh", "char", "ja-mecab")
"""Tokenizers of languages that are written without blanks between the words."""


DEFAULTS = MetricSettings()


@dataclass(frozen=True, slots=True)
class Bleu:
    """BLEU of a whole test set (Papineni et al. 2002), 0 to 100."""

    score: float
    signature: str
    brevity_penalty: float
    length_ratio: float
    """Tokens of the translations by tokens of the references (the closest in length, where there are several)."""


@dataclass(frozen=True, slots=True)
class TranslationScores:
    """All measures of a test set, 0 to 100: higher is better, but for TER. A signature says how each was computed."""

    bleu: float
    bleu_signature: str
    chrf: float
    chrf_signature: str
    ter: float
    ter_signature: str
    tokenised_bleu: float
    """BLEU of the text as it is, split at its blanks (`tok:none`): what older papers report on tokenised text."""
    tokenised_signature: str
    n_sentences: int
    brevity_penalty: float
    length_ratio: float

    def summary(self) -> str:
        """All of them with their signatures, in a line of a card."""
        return (
            f"BLEU {self.bleu:.2f} (`{self.bleu_signature}`), chrF {self.chrf:.2f} (`{self.chrf_signature}`), "
            f"TER {self.ter:.2f} (`{self.ter_signature}`), tokenised BLEU {self.tokenised_bleu:.2f} "
            f"(`{self.tokenised_signature}`), {self.n_sentences} sentences"
        )


@dataclass(frozen=True, slots=True)
class LengthBucket:
    """BLEU of the sentences whose source has `low` to `high` tokens, both included; `high` None: any number."""

    low: int
    high: int | None
    n: int
    bleu: float
    mean_length: float
    """Of the sources."""
    interval: tuple[float, float]
    """95 % of the scores of resampled sentences lie here."""


@dataclass(frozen=True, slots=True)
class BleuInterval:
    """BLEU of a test set, and where it may as well be."""

    bleu: float
    low: float
    high: float
    """95 % of the scores of resampled sentences lie from `low` to `high`."""
    signature: str


@dataclass(frozen=True, slots=True)
class PairedBootstrap:
    """System b against system a, in BLEU."""

    bleu_a: float
    bleu_b: float
    difference: float
    """`bleu_b - bleu_a`."""
    p_value: float
    """How often chance alone would give a difference at least as large, in either direction; 1 when there is none."""
    mean_a: float
    interval_a: tuple[float, float]
    """95 % of the resampled scores of a lie here."""
    mean_b: float
    interval_b: tuple[float, float]
    n: int
    """How many times the test set was resampled."""
    signature: str


def evaluate_translations(
    hyps: Sequence[str], refs: Sequence[Sequence[str]], *, lang: str = "", settings: MetricSettings = DEFAULTS
) -> TranslationScores:
    """Score translations against one or more references each; `refs[i]` are all the references of `hyps[i]`.

    `lang` is the target language ("zh", "de"). chrF is chrF2 with sacreBLEU's defaults (Popovic 2015); TER is Tercom's
    (Snover et al. 2006), for languages without blanks by characters. TER takes seconds for a thousand poor
    translations: where only BLEU is needed, `corpus_bleu` gives the same figure.

    Raises:
        DataError: no sentences, unequal numbers, or a sentence without a reference.
    """
    _check(hyps, refs)
    streams = reference_streams(refs)
    bleu = corpus_bleu(hyps, refs, lang=lang, settings=settings)
    as_given = corpus_bleu(hyps, refs, settings=settings.model_copy(update={"tokenize": "none"}))
    chrf = CHRF(lowercase=settings.lowercase)
    unspaced = _tokenizer_name(refs, lang, settings) in UNSPACED
    ter = TER(normalized=unspaced, asian_support=unspaced)
    chrf_score = chrf.corpus_score(hyps, streams).score
    ter_score = ter.corpus_score(hyps, streams).score
    return TranslationScores(
        bleu=bleu.score,
        bleu_signature=bleu.signature,
        chrf=chrf_score,
        chrf_signature=str(chrf.get_signature()),
        ter=ter_score,
        ter_signature=str(ter.get_signature()),
        tokenised_bleu=as_given.score,
        tokenised_signature=as_given.signature,
        n_sentences=len(hyps),
        brevity_penalty=bleu.brevity_penalty,
        length_ratio=bleu.length_ratio,
    )


def corpus_bleu(
    hyps: Sequence[str], refs: Sequence[Sequence[str]], *, lang: str = "", settings: MetricSettings = DEFAULTS
) -> Bleu:
    """BLEU alone: the same figure as `evaluate_translations`, and fast enough for every validation.

    Raises:
        DataError: as `evaluate_translations`.
    """
    _check(hyps, refs)
    metric = _bleu(_tokenizer_name(refs, lang, settings), settings)
    score = metric.corpus_score(hyps, reference_streams(refs))
    return Bleu(score.score, str(metric.get_signature()), score.bp, score.ratio)


def bleu_by_length(
    hyps: Sequence[str],
    refs: Sequence[Sequence[str]],
    sources: Sequence[str],
    *,
    lang: str = "",
    settings: MetricSettings = DEFAULTS,
    n: int = 1000,
    seed: int = 12345,
) -> list[LengthBucket]:
    """BLEU of short and of long sentences, by the length of the source; groups without a sentence are left out.

    A source is as long as sacreBLEU's tokenizer for its script finds tokens in it: words and punctuation marks or,
    where no blanks are written, characters. Each group's BLEU has the tokenizer of the whole, so that they compare, and its
    sentences are resampled as by `bleu_interval`.

    Raises:
        DataError: as `evaluate_translations`, or when there is not one source for each translation.
    """
    _check(hyps, refs)
    if len(sources) != len(hyps):
        raise DataError(
            f"There are {len(sources)} source sentences but {len(hyps)} translations: give the source file that the "
            "translations were made from, line by line."
        )
    tokenizer = _bleu(tokenizer_for(sources), settings).tokenizer
    lengths = [len(tokenizer(source).split()) for source in sources]
    metric = _bleu(_tokenizer_name(refs, lang, settings), settings)
    edges = sorted(settings.length_edges)
    buckets = []
    for low, high in zip([0, *(edge + 1 for edge in edges)], [*edges, None], strict=True):
        rows = [i for i, length in enumerate(lengths) if low <= length and (high is None or length <= high)]
        if rows:
            found = _resampled(metric, [hyps[i] for i in rows], [refs[i] for i in rows], n, seed)
            mean = sum(lengths[i] for i in rows) / len(rows)
            buckets.append(LengthBucket(low, high, len(rows), found.bleu, mean, (found.low, found.high)))
    return buckets


def bleu_interval(
    hyps: Sequence[str],
    refs: Sequence[Sequence[str]],
    *,
    lang: str = "",
    settings: MetricSettings = DEFAULTS,
    n: int = 1000,
    seed: int = 12345,
) -> BleuInterval:
    """BLEU with the interval that other sentences of the same kind would put it in (Koehn 2004; sacreBLEU's bootstrap).

    The test set is drawn anew `n` times with replacement; `seed` as of `paired_bootstrap`.

    Raises:
        DataError: as `evaluate_translations`.
    """
    _check(hyps, refs)
    return _resampled(_bleu(_tokenizer_name(refs, lang, settings), settings), hyps, refs, n, seed)


def _resampled(metric: BLEU, hyps: Sequence[str], refs: Sequence[Sequence[str]], n: int, seed: int) -> BleuInterval:
    if n < 2 or seed < 1:
        raise ValueError(f"n ({n}) must be at least 2, and seed ({seed}) at least 1")
    with _sacrebleu_seed(seed):
        score = cast(Any, metric.corpus_score(hyps, reference_streams(refs), n_bootstrap=n))
    signature = str(metric.get_signature())
    return BleuInterval(score.score, float(score._mean - score._ci), float(score._mean + score._ci), signature)


def paired_bootstrap(
    hyps_a: Sequence[str],
    hyps_b: Sequence[str],
    refs: Sequence[Sequence[str]],
    *,
    lang: str = "",
    settings: MetricSettings = DEFAULTS,
    n: int = 1000,
    seed: int = 12345,
) -> PairedBootstrap:
    """Whether the difference in BLEU between two systems may be chance (Koehn 2004; sacreBLEU's paired bootstrap).

    The test set is drawn anew `n` times with replacement, the same sentences for both systems. `seed`, a number from 1,
    decides which; the same seed gives the same figures (sacreBLEU's own default is 12345).

    Raises:
        DataError: as `evaluate_translations`, for either system.
    """
    _check(hyps_a, refs)
    _check(hyps_b, refs)
    if n < 1 or seed < 1:  # sacreBLEU takes a seed of 0 for none at all
        raise ValueError(f"n ({n}) and seed ({seed}) must be at least 1")
    systems = [("a", hyps_a), ("b", hyps_b)]
    metrics = {"BLEU": _bleu(_tokenizer_name(refs, lang, settings), settings)}
    with _sacrebleu_seed(seed):  # read when the test is made, never later
        test = PairedTest(systems, metrics, reference_streams(refs), test_type="bs", n_samples=n)
    signatures, results = test()
    a, b = cast(list[Result], results["BLEU"])
    mean_a, half_a = cast(float, a.mean), cast(float, a.ci)
    mean_b, half_b = cast(float, b.mean), cast(float, b.ci)
    return PairedBootstrap(
        bleu_a=a.score,
        bleu_b=b.score,
        difference=b.score - a.score,
        p_value=cast(float, b.p_value) if b.score != a.score else 1.0,  # sacreBLEU gives its smallest for equal systems
        mean_a=float(mean_a),
        interval_a=(float(mean_a - half_a), float(mean_a + half_a)),
        mean_b=float(mean_b),
        interval_b=(float(mean_b - half_b), float(mean_b + half_b)),
        n=n,
        signature=str(signatures["BLEU"]),
    )


def reference_streams(refs: Sequence[Sequence[str]]) -> list[list[Any]]:
    """References as sacreBLEU wants them: the first of every sentence, the second, ...; None where there is none."""
    return [list(stream) for stream in zip_longest(*refs)]


def _tokenizer_name(refs: Sequence[Sequence[str]], lang: str, settings: MetricSettings) -> str:
    if settings.tokenize != "auto":
        return settings.tokenize
    return tokenizer_for((ref for group in refs for ref in group), lang)


def _bleu(tokenize: str, settings: MetricSettings) -> BLEU:
    try:
        return BLEU(lowercase=settings.lowercase, tokenize=tokenize, force=True)
    except (ImportError, RuntimeError) as error:
        extra = tokenize.split("-")[0]
        raise DataError(
            f"The tokenizer '{tokenize}' of sacreBLEU needs a package that is not installed: run "
            f"pip install 'sacrebleu[{extra}]', or choose tokenize = \"char\"."
        ) from error


def _check(hyps: Sequence[str], refs: Sequence[Sequence[str]]) -> None:
    if isinstance(hyps, str) or any(isinstance(group, str) for group in refs):
        raise TypeError("hyps is a list of sentences, and refs a list with a list of references for each of them")
    if len(hyps) != len(refs):
        raise DataError(
            f"There are {len(hyps)} translations but references for {len(refs)} sentences: translate every line of the "
            "test set, in its order, one line each (an empty line stays an empty line)."
        )
    if not hyps:
        raise DataError("There is nothing to score: the test set has no sentences. Give a file with at least one line.")
    for number, group in enumerate(refs, 1):
        if not group:
            raise DataError(
                f"Sentence {number} of the test set has no reference: give it one, or leave the sentence out."
            )


_seed_lock = threading.Lock()


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """The seed is taken from the environment only: set it for a moment, one thread at a time, then put it back."""
    with _seed_lock:
        before = os.environ.get("SACREBLEU_SEED")
        os.environ["SACREBLEU_SEED"] = str(seed)
        try:
            yield
        finally:
            if before is None:
                del os.environ["SACREBLEU_SEED"]
            else:
                os.environ["SACREBLEU_SEED"] = before


def sentence_chrf(texts: Sequence[str]) -> list[list[float]]:
    """[i][k]: the chrF (Popovic 2015), from 0 to 1, of text i against text k."""
    metric = CHRF()
    return [[metric.sentence_score(hyp, [ref]).score / 100 for ref in texts] for hyp in texts]
