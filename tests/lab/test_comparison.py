import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sightline.data.evaluation import Example
from sightline.lab.comparison import ENOUGH, SURE, Comparison, Curve, holm
from sightline.lab.measured import Outcome, TestSet
from sightline.lab.parts import Said, Section, Table
from sightline.lab.sections.headline import headline
from sightline.lab.sections.learning import learning
from sightline.lab.sections.lengths import lengths
from sightline.lab.sections.significance import significance
from sightline.lab.sections.verdict import verdict
from sightline.lab.system import Point, System
from sightline.metrics.settings import MetricSettings
from sightline.metrics.translation import corpus_bleu, paired_bootstrap

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


Make = Callable[..., Any]


def sentences(count: int = 60) -> TestSet:
    generator = random.Random(5)
    rows = [" ".join(generator.choices(WORDS, k=generator.choice((5, 8, 13)))) for _ in range(count)]
    return TestSet([Example(row, (row,)) for row in rows], MetricSettings(), "en")


def spoiled(test: TestSet, share: float, longest: int = 99, seed: int = 7) -> list[str]:
    """Translations with this share of words wrong, in sentences up to a length; the others are right."""
    generator = random.Random(seed)
    return [
        " ".join("x" if len(row.split()) <= longest and generator.random() < share else word for word in row.split())
        for row in test.sources
    ]


@pytest.fixture
def outcome(measured: Make) -> Make:
    def outcome(system: System, test: TestSet, translations: Sequence[list[str]], **more: object) -> Outcome:
        scores = [corpus_bleu(hyps, test.refs, lang="en").score for hyps in translations]
        return Outcome(
            system, [measured(hyps, score, **more) for hyps, score in zip(translations, scores, strict=True)]
        )

    return outcome


def curve(minutes: float, tokens: int, *bleu: float) -> list[Point]:
    """Validations at equal distances, the last one at the end."""
    n = len(bleu)
    return [Point(60 * minutes * (i + 1) / n, tokens * (i + 1) // n, b, 1.0) for i, b in enumerate(bleu)]


@pytest.fixture
def won(systems: list[System], outcome: Make) -> Comparison:
    """The Transformer is better in everything."""
    test = sentences()
    best = outcome(
        systems[0], test, [spoiled(test, 0.1), spoiled(test, 0.12, seed=8)], curve=curve(1, 9000, 9, 20, 30), flops=1e6,
        tokens_per_second=2000.0,
    )  # fmt: skip
    return Comparison([outcome(systems[1], test, [spoiled(test, 0.6)], curve=curve(1, 8000, 1, 2, 3)), best], test)


@pytest.fixture
def lost(systems: list[System], outcome: Make) -> Comparison:
    """The Transformer is worse in everything."""
    test = sentences()
    best = outcome(
        systems[1], test, [spoiled(test, 0.1)], curve=curve(1, 9000, 9, 20, 30), flops=1e6, tokens_per_second=2000.0
    )
    return Comparison([outcome(systems[0], test, [spoiled(test, 0.6)], curve=curve(1, 8000, 1, 2, 3)), best], test)


def words(section: Section) -> tuple[str, str]:
    return " ".join(each.en for each in section.text), " ".join(each.zh for each in section.text)


def test_the_best_is_first(won: Comparison, lost: Comparison):
    assert [each.system.is_transformer for each in won.outcomes] == [True, False]
    assert [each.system.is_transformer for each in lost.outcomes] == [False, True]


def test_where_the_transformer_wins_everywhere_the_verdict_says_so(won: Comparison):
    en, zh = words(verdict(won))
    assert "The highest BLEU is that of one" in en and "is more than chance" in en
    assert "The Transformer is ahead, and more than by chance, of gru (+" in en
    assert "In none of these does another do better than the Transformer" in en and "没有别的系统胜过 Transformer" in zh
    assert "does not win" not in en and "没有赢" not in zh


def test_where_the_transformer_loses_the_verdict_says_where_and_by_how_much(lost: Comparison):
    en, zh = words(verdict(lost))
    gap = lost.outcomes[0].bleu - lost.outcomes[1].bleu
    assert f"The Transformer is behind, and more than by chance: gru (-{gap:.2f})." in en and f"gru（-{gap:.2f}）" in zh
    assert "Where the Transformer does not win: after 0.5 minutes" in en and "Transformer 没有赢的地方" in zh
    ahead = [c for c in lost.curves if c is not None]
    assert len(ahead) == 2
    for a, b in ([c.at_minutes(0.5) for c in ahead], [c.at_tokens(8000) for c in ahead]):
        assert a is not None and b is not None
        reached = a - b
        assert f"gru is ahead of it by {reached:.2f} BLEU" in en and f"领先 {reached:.2f} BLEU" in zh
    for bucket, others in zip(lost.lengths[1], lost.lengths[0], strict=True):
        chance = "" if others.interval[0] > bucket.interval[1] else ", which may be chance"
        assert f"by {others.bleu - bucket.bleu:.1f} BLEU{chance})" in en
    assert "gru trains on 2.22 times as many tokens a second" in en and "gru takes 2.00 times fewer operations" in en


def test_a_loss_in_short_sentences_only_is_told_as_such(systems: list[System], outcome: Make):
    test = sentences()
    transformer = outcome(systems[0], test, [spoiled(test, 0.5, longest=5)], flops=1e6, tokens_per_second=2000.0)
    other = outcome(systems[1], test, [spoiled(test, 0.3)])
    en, _ = words(verdict(Comparison([transformer, other], test)))
    assert "Where the Transformer does not win: on sources of 0–5 tokens (by " in en
    assert "6–10" not in en and "11–15" not in en and "minutes" not in en


def test_a_difference_that_may_be_chance_is_not_called_a_victory(systems: list[System], outcome: Make):
    test = sentences(count=12)
    pair = [outcome(s, test, [spoiled(test, 0.4, seed=n)]) for s, n in zip(systems, (7, 8), strict=True)]
    found = Comparison(pair, test)
    assert found.pairs[0].adjusted > 0.05
    en, zh = words(verdict(found))
    assert "that may be chance" in en and "the difference may be chance: gru" in en and "可能只是偶然" in zh


def test_a_verdict_without_a_transformer_or_with_one_system_speaks_of_none(systems: list[System], outcome: Make):
    test = sentences()
    twice = replace(systems[1], name=Said("other", "另一个"))
    both = [outcome(systems[1], test, [spoiled(test, 0.1)]), outcome(twice, test, [spoiled(test, 0.5)])]
    en, _ = words(verdict(Comparison(both, test)))
    assert "The highest BLEU is that of gru" in en and "Transformer" not in en
    alone = Comparison([outcome(systems[0], test, [spoiled(test, 0.1), spoiled(test, 0.3)])], test)
    en, zh = words(verdict(alone))
    assert "These are 2 runs of one recipe" in en and "2 次训练" in zh
    en, zh = words(verdict(Comparison([outcome(systems[0], test, [spoiled(test, 0.1)])], test)))
    assert "This is one run: BLEU" in en and "这是一次训练" in zh
    assert alone.pairs == [] and alone.transformer is None


def test_pairs_are_tested_as_the_metrics_do_and_held_to_their_number(won: Comparison):
    [pair] = won.pairs
    a, b = won.outcomes
    alone = paired_bootstrap(a.first.translations, b.first.translations, won.test.refs, lang="en")
    assert (pair.difference, pair.p_value, pair.adjusted) == (alone.difference, alone.p_value, alone.p_value)
    assert won.pair(b, a) is pair


def test_a_lead_of_the_means_that_the_tested_runs_do_not_have_may_be_chance(systems: list[System], outcome: Make):
    test = sentences()
    first_is_bad = outcome(systems[0], test, [spoiled(test, share, seed=n) for n, share in enumerate((0.6, 0.0, 0.0))])
    other = outcome(systems[1], test, [spoiled(test, 0.3)])
    found = Comparison([first_is_bad, other], test)
    [pair] = found.pairs
    assert pair.adjusted < SURE and found.outcomes[0] is first_is_bad and not pair.sure
    assert "that may be chance" in words(verdict(found))[0]
    assert rows_of(significance(found))[0][-1] == "may be chance"


def test_a_handful_of_sentences_tells_nothing(systems: list[System], outcome: Make):
    test = sentences(count=3)
    found = Comparison([outcome(s, test, [spoiled(test, n / 2)]) for n, s in enumerate(systems)], test)
    assert found.pairs[0].adjusted < SURE and not found.pairs[0].sure
    assert "only 3 sentences" in significance(found).text[-1].en


def test_many_systems_can_still_differ_by_more_than_chance(systems: list[System], outcome: Make):
    test = sentences(count=ENOUGH)
    many = [replace(systems[1], name=Said(str(n), str(n))) for n in range(11)]
    found = Comparison([outcome(s, test, [spoiled(test, n / 10)]) for n, s in enumerate(many)], test)
    smallest = 1 / (found.resamples + 1)  # that a test can give (Davison and Hinkley 1997)
    assert found.resamples == 2200 and holm([smallest] * 55)[0] < SURE


def test_speeds_with_other_threads_or_formats_are_not_compared(systems: list[System], outcome: Make):
    test = sentences()
    fast = outcome(systems[1], test, [spoiled(test, 0.1)], tokens_per_second=2000.0, threads=8)
    slow = outcome(systems[0], test, [spoiled(test, 0.1)])
    assert "trains on" not in words(verdict(Comparison([fast, slow], test)))[0]


def test_holm_multiplies_the_smallest_by_all_and_never_goes_down():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_the_curve_of_several_runs_is_their_mean_and_reaches_what_it_had_reached(systems: list[System], measured: Make):
    test = sentences()
    hyps = spoiled(test, 0.2)
    runs = [measured(hyps, 1.0, curve=curve(1, 900, 10, 30, 20)), measured(hyps, 1.0, curve=curve(2, 900, 20, 10, 60))]
    found = Comparison([Outcome(systems[0], runs)], test).curves[0]
    assert found == Curve(
        [0.5, 1.0, 1.5], [300.0, 600.0, 900.0], [15.0, 20.0, 40.0], [10.0, 10.0, 20.0], [20.0, 30.0, 60.0]
    )
    assert found is not None and found.at_tokens(450) == 17.5 and found.at_minutes(9) == 40.0
    assert found.at_tokens(299) is None and found.at_minutes(0) is None
    falls = replace(found, bleu=[15.0, 10.0, 40.0])
    assert falls.at_tokens(600) == 15.0


def rows_of(section: Section) -> list[list[str]]:
    [table] = [part for part in section.parts if isinstance(part, Table)]
    return [[cell if isinstance(cell, str) else cell.en for cell in row] for row in table.rows]


def test_the_table_of_scores_has_seeds_where_there_are_several_and_resampled_sentences_otherwise(won: Comparison):
    seeds, alone = rows_of(headline(won))
    scores = sorted(run.bleu for run in won.outcomes[0].runs)
    assert seeds[:4] == ["one", f"{sum(scores) / 2:.2f}", f"{scores[0]:.1f} – {scores[1]:.1f}", "2"]
    low, high = won.intervals[1].low, won.intervals[1].high
    assert alone[2:4] == [f"{low:.1f} – {high:.1f}", "1"] and low < won.outcomes[1].bleu < high
    assert "nrefs:1|tok:none" in headline(won).text[0].en and "1.00" in seeds


def test_curves_are_drawn_by_minutes_and_by_tokens_with_a_band_for_several_seeds(won: Comparison):
    by_minutes, by_tokens = learning(won).parts
    assert [line.x[-1] for line in by_minutes.lines] == [1.0, 1.0]  # pyright: ignore[reportAttributeAccessIssue]
    assert [line.x[-1] for line in by_tokens.lines] == [0.009, 0.008]  # pyright: ignore[reportAttributeAccessIssue]
    assert [line.low is None for line in by_tokens.lines] == [False, True]  # pyright: ignore[reportAttributeAccessIssue]


def test_runs_whose_record_says_no_times_are_left_out_and_named(systems: list[System], outcome: Make):
    test = sentences()
    found = Comparison([outcome(s, test, [spoiled(test, 0.2)]) for s in systems], test)
    section = learning(found)
    assert not section.parts and "Left out" in section.text[1].en and "gru" in section.text[1].zh
    assert "does not win: after" not in words(verdict(found))[0]


def test_small_groups_of_lengths_are_in_the_table_only(systems: list[System], outcome: Make):
    test = sentences(count=25)
    found = Comparison([outcome(s, test, [spoiled(test, 0.2)]) for s in systems], test)
    section = lengths(found)
    small = [bucket for bucket in found.lengths[0] if bucket.n < 10]
    assert small and len(rows_of(section)) == len(found.lengths[0])
    chart = section.parts[0]
    assert all(len(line.x) == len(found.lengths[0]) - len(small) for line in chart.lines)  # pyright: ignore[reportAttributeAccessIssue]
    assert "are in the table only" in section.text[-1].en


def test_the_table_of_pairs_says_who_is_ahead(won: Comparison):
    [row] = rows_of(significance(won))
    gap = won.outcomes[0].first.bleu - won.outcomes[1].first.bleu
    assert row[:3] == ["one", "gru", f"{gap:+.2f}"] and row[-1] == "is more than chance"
