"""What systems are worth beside each other: found once, told by the sections."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from sightline.lab.measured import Measured, Outcome, TestSet
from sightline.lab.parts import Said
from sightline.metrics.translation import BleuInterval, LengthBucket, bleu_by_length, bleu_interval, paired_bootstrap

SURE = 0.05
"""A difference whose p-value is smaller is called more than chance."""
ENOUGH = 30
"""Sentences below which no difference is: drawn anew they are much the same."""


@dataclass(frozen=True)
class Pair:
    """Two systems on the same sentences, tested by their first runs."""

    a: Said
    b: Said
    difference: float
    """BLEU of b less that of a, of their first runs."""
    of_means: float
    """The same of the means of all their runs."""
    p_value: float
    """Of the paired bootstrap of these two (Koehn 2004)."""
    adjusted: float
    """The same for as many tests as there are pairs (Holm 1979)."""
    sentences: int

    @property
    def sure(self) -> bool:
        """Whether the difference is more than chance: there are sentences enough, and the means of all runs agree with the first
        runs on who is ahead.
        """
        return self.sentences >= ENOUGH and self.adjusted < SURE and self.difference * self.of_means > 0


@dataclass(frozen=True)
class Curve:
    """BLEU on the validation set as training goes on: the mean of a system's runs, where its first run was validated."""

    minutes: list[float]
    tokens: list[float]
    bleu: list[float]
    low: list[float]
    high: list[float]

    def at_tokens(self, tokens: float) -> float | None:
        """The best BLEU that was reached by then, between validations interpolated; None before the first of them."""
        return self._reached(tokens, self.tokens)

    def at_minutes(self, minutes: float) -> float | None:
        """The same by time."""
        return self._reached(minutes, self.minutes)

    def _reached(self, at: float, when: list[float]) -> float | None:
        return None if at < when[0] else float(np.interp(at, when, np.maximum.accumulate(self.bleu)))


class Comparison:
    """Systems on one test set."""

    def __init__(self, outcomes: Sequence[Outcome], test: TestSet) -> None:
        self.outcomes, self.test = sorted(outcomes, key=lambda each: -each.bleu), test

    def made_of(self) -> list[object]:
        """What tells it from another comparison."""
        return [
            self.test.digest(),
            [
                [
                    each.name.en,
                    each.name.zh,
                    [run.weights for run in each.system.runs],
                    [asdict(run) for run in each.runs],
                ]
                for each in self.outcomes
            ],
        ]

    @property
    def transformer(self) -> Outcome | None:
        """The one Transformer among others; None if there is none, or several, or nothing else."""
        found = [each for each in self.outcomes if each.system.is_transformer]
        return found[0] if len(found) == 1 < len(self.outcomes) else None

    @cached_property
    def intervals(self) -> list[BleuInterval]:
        """Of each system's first run: where its BLEU would lie on other sentences of the same kind."""
        return [
            bleu_interval(each.first.translations, self.test.refs, lang=self.test.lang, settings=self.test.metric)
            for each in self.outcomes
        ]

    @cached_property
    def lengths(self) -> list[list[LengthBucket]]:
        """Of each system: BLEU by the length of the source, score and interval being the means of its runs."""
        return [_mean_buckets([self._buckets(run) for run in each.runs]) for each in self.outcomes]

    def _buckets(self, run: Measured) -> list[LengthBucket]:
        given = run.translations, self.test.refs, self.test.sources
        return bleu_by_length(*given, lang=self.test.lang, settings=self.test.metric)

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every two systems."""
        couples, n = list(combinations(self.outcomes, 2)), len(self.test.examples)
        tests = [
            paired_bootstrap(
                a.first.translations,
                b.first.translations,
                self.test.refs,
                lang=self.test.lang,
                settings=self.test.metric,
                n=self.resamples,
            )
            for a, b in couples
        ]
        adjusted = holm([tested.p_value for tested in tests])
        return [
            Pair(a.name, b.name, tested.difference, b.bleu - a.bleu, tested.p_value, p, n)
            for (a, b), tested, p in zip(couples, tests, adjusted, strict=True)
        ]

    @property
    def resamples(self) -> int:
        """How often the test set is drawn anew for each pair: so often that the smallest p-value there can be, held to the number
        of pairs, is still well below what counts as sure.
        """
        n_pairs = len(self.outcomes) * (len(self.outcomes) - 1) // 2
        return max(1000, round(2 * n_pairs / SURE))

    def pair(self, one: Outcome, other: Outcome) -> Pair:
        """Two systems, in whichever order they were tested."""
        return next(each for each in self.pairs if {each.a, each.b} == {one.name, other.name})

    @cached_property
    def curves(self) -> list[Curve | None]:
        """Of each system; None where its record does not say when it was validated."""
        return [_mean_curve(each.runs) for each in self.outcomes]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values for as many tests as there are (Holm 1979): the smallest times their number, the next times one less, ..."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _mean_buckets(runs: Sequence[list[LengthBucket]]) -> list[LengthBucket]:
    found = []
    for same in zip(*runs, strict=True):
        bleu, low, high = (
            sum(values) / len(same) for values in zip(*((b.bleu, *b.interval) for b in same), strict=True)
        )
        first = same[0]
        found.append(LengthBucket(first.low, first.high, first.n, bleu, first.mean_length, (low, high)))
    return found


def _mean_curve(runs: Sequence[Measured]) -> Curve | None:
    if any(not run.curve for run in runs):
        return None
    tokens = [point.tokens for point in runs[0].curve]
    values = [np.interp(tokens, [p.tokens for p in run.curve], [p.bleu for p in run.curve]) for run in runs]
    minutes = [np.interp(tokens, [p.tokens for p in run.curve], [p.seconds / 60 for p in run.curve]) for run in runs]
    return Curve(
        np.mean(minutes, axis=0).tolist(),
        [float(each) for each in tokens],
        np.mean(values, axis=0).tolist(),
        np.min(values, axis=0).tolist(),
        np.max(values, axis=0).tolist(),
    )
