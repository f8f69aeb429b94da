"""Scores are sacreBLEU's own, with its signatures; mistakes in the input are said."""

import importlib.util
import math
import os
from typing import Any, cast

import pytest
import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from sightline.errors import DataError
from sightline.metrics.settings import MetricSettings
from sightline.metrics.translation import bleu_by_length, corpus_bleu, evaluate_translations, paired_bootstrap

HYPS = [
    "A dog runs through the snow.",
    "Two men sit on a bench, talking.",
    "The woman in red is dancing .",
    "A child plays with a ball.",
    "People walk across the street.",
]
REFS = [
    ["A dog is running through the snow.", "A dog runs in the snow."],
    ["Two men are sitting on a bench and talking."],
    ["A woman in red dances.", "The woman in red is dancing.", "A lady dressed in red is dancing."],
    ["A child plays with a ball."],
    ["People are crossing the street.", "People walk over the street."],
]
STREAMS = [
    [REFS[0][0], REFS[1][0], REFS[2][0], REFS[3][0], REFS[4][0]],
    [REFS[0][1], None, REFS[2][1], None, REFS[4][1]],
    [None, None, REFS[2][2], None, None],
]
ZH, ZH_REFS = ["我爱你。", "他在公园里跑步。"], [["我爱您。", "我爱你。"], ["他正在公园跑步。"]]
VERSION = f"version:{sacrebleu.__version__}"


def test_the_scores_and_signatures_are_those_of_sacrebleu_with_any_number_of_references():
    scores = evaluate_translations(HYPS, REFS)
    bleu, chrf, ter, plain = BLEU(), CHRF(), TER(), BLEU(tokenize="none", force=True)
    expected = bleu.corpus_score(HYPS, STREAMS)
    assert (scores.bleu, scores.brevity_penalty, scores.length_ratio) == (expected.score, expected.bp, expected.ratio)
    assert scores.chrf == chrf.corpus_score(HYPS, STREAMS).score
    assert scores.ter == ter.corpus_score(HYPS, STREAMS).score
    assert scores.tokenised_bleu == plain.corpus_score(HYPS, STREAMS).score
    assert scores.bleu_signature == f"nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|{VERSION}"
    assert scores.chrf_signature == f"nrefs:var|case:mixed|eff:yes|nc:6|nw:0|space:no|{VERSION}"
    assert scores.ter_signature == f"nrefs:var|case:lc|tok:tercom|norm:no|punct:yes|asian:no|{VERSION}"
    assert scores.tokenised_signature == f"nrefs:var|case:mixed|eff:no|tok:none|smooth:exp|{VERSION}"
    assert scores.n_sentences == 5


def test_bleu_is_what_a_count_by_hand_gives():
    # 5 words against 6: matches 5/5, 3/4, 2/3, 1/2 n-grams; brevity exp(1 - 6/5)
    score = corpus_bleu(["the cat sat the mat"], [["the cat sat on the mat"]])
    precisions = [5 / 5, 3 / 4, 1 / 3, 0.5 * 1 / 2]  # no 4-gram fits: exponential smoothing halves 1/2
    assert score.score == pytest.approx(100 * math.exp(1 - 6 / 5) * math.prod(precisions) ** 0.25)
    assert score.brevity_penalty == pytest.approx(math.exp(-0.2))
    assert score.length_ratio == pytest.approx(5 / 6)


def test_a_perfect_translation_scores_100_and_an_empty_one_0():
    perfect = evaluate_translations([group[0] for group in REFS], REFS)
    assert (perfect.bleu, perfect.chrf, perfect.ter) == (pytest.approx(100), pytest.approx(100), 0)
    nothing = evaluate_translations([""] * 5, [group[:1] for group in REFS])
    assert (nothing.bleu, nothing.chrf, nothing.ter) == (0, 0, 100)


def test_validation_and_evaluation_give_the_same_bleu():
    scores, bleu = evaluate_translations(HYPS, REFS, lang="en"), corpus_bleu(HYPS, REFS, lang="en")
    assert (scores.bleu, scores.bleu_signature) == (bleu.score, bleu.signature)


@pytest.mark.parametrize("lang", ["zh", "zh-TW", "zho_Hans", ""])
def test_chinese_is_scored_by_characters_whether_said_or_seen(lang):
    scores = evaluate_translations(ZH, ZH_REFS, lang=lang)
    streams = [["我爱您。", "他正在公园跑步。"], ["我爱你。", None]]
    assert scores.bleu == BLEU(tokenize="zh").corpus_score(ZH, streams).score > 0
    assert "tok:zh" in scores.bleu_signature
    assert scores.ter == TER(normalized=True, asian_support=True).corpus_score(ZH, streams).score < 100
    assert "norm:yes" in scores.ter_signature and "asian:yes" in scores.ter_signature


@pytest.mark.parametrize(
    ("lang", "text", "tokenizer"),
    [
        ("ja", "犬が走る。", "char"),
        ("", "犬が雪の中を走る。", "char"),
        ("th", "สุนัขวิ่ง", "char"),
        ("", "สุนัขวิ่งในหิมะ", "char"),
        ("de", "Ein Hund läuft.", "13a"),
        ("", "Ein Hund läuft.", "13a"),
        ("ko", "개가 눈 속을 달린다.", "13a"),
        ("", "他说 OK 了。", "zh"),
        ("", "12 + 3", "13a"),
    ],
)
def test_the_tokenizer_follows_the_language_or_else_the_script(lang, text, tokenizer):
    assert f"tok:{tokenizer}|" in corpus_bleu([text], [[text]], lang=lang).signature


def test_a_setting_overrules_the_language_and_case_can_be_ignored():
    upper = [hyp.upper() for hyp in HYPS]
    settings = MetricSettings(tokenize="intl", lowercase=True)
    scores = evaluate_translations(upper, REFS, lang="zh", settings=settings)
    assert scores.bleu == BLEU(tokenize="intl", lowercase=True).corpus_score(HYPS, STREAMS).score
    assert "case:lc" in scores.bleu_signature and "tok:intl" in scores.bleu_signature
    assert "case:lc" in scores.chrf_signature and "case:lc" in scores.tokenised_signature


def test_bleu_by_length_groups_by_the_length_of_the_source():
    sources = [
        "eins zwei drei",
        "eins zwei drei vier fünf.",
        "eins",
        " ".join(["wort"] * 60),
        "eins zwei drei vier fünf",
    ]
    buckets = bleu_by_length(HYPS, REFS, sources)
    assert [(each.low, each.high, each.n) for each in buckets] == [(0, 5, 3), (6, 10, 1), (51, None, 1)]
    assert buckets[1].bleu == BLEU().corpus_score([HYPS[1]], [REFS[1]]).score
    assert buckets[2].bleu == pytest.approx(100)
    whole = bleu_by_length(HYPS, REFS, sources, settings=MetricSettings(length_edges=(100,)))
    assert [each.bleu for each in whole] == [corpus_bleu(HYPS, REFS).score]


def test_the_length_of_a_chinese_source_is_counted_in_characters():
    settings = MetricSettings(length_edges=(4, 7))
    buckets = bleu_by_length(["I love you.", "He runs."], [["I love you."], ["He runs."]], ZH, settings=settings)
    assert [(each.low, each.high, each.n) for each in buckets] == [(0, 4, 1), (8, None, 1)]


def worse():
    return ["A dog snow.", "Two men.", "The woman.", "A child plays.", "People street the."]


def test_the_paired_bootstrap_is_that_of_sacrebleu():
    result = paired_bootstrap(HYPS * 8, worse() * 8, REFS * 8, n=200)
    streams = [stream * 8 for stream in STREAMS]
    test = PairedTest([("a", HYPS * 8), ("b", worse() * 8)], {"BLEU": BLEU()}, streams, test_type="bs", n_samples=200)
    signatures, results = test()
    a, b = cast(list[Any], results["BLEU"])
    assert (result.bleu_a, result.bleu_b, result.p_value) == (a.score, b.score, b.p_value)
    assert (result.mean_a, result.mean_b) == (a.mean, b.mean)
    assert result.interval_b == (pytest.approx(b.mean - b.ci), pytest.approx(b.mean + b.ci))
    assert result.difference == b.score - a.score < 0
    assert result.p_value < 0.05
    assert result.signature == str(signatures["BLEU"])
    assert "bs:200" in result.signature and "seed:12345" in result.signature


def test_a_system_does_not_differ_from_itself():
    result = paired_bootstrap(HYPS * 4, HYPS * 4, REFS * 4, n=100)
    assert (result.difference, result.p_value) == (0, 1)
    assert result.interval_a == result.interval_b
    assert result.interval_a[0] <= result.mean_a <= result.interval_a[1]


@pytest.mark.parametrize("before", [None, "7"])
def test_the_seed_decides_the_bootstrap_and_leaves_the_environment_as_it_was(monkeypatch, before):
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    if before:
        monkeypatch.setenv("SACREBLEU_SEED", before)
    first, again, other = (paired_bootstrap(HYPS, worse(), REFS, n=50, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.mean_a != other.mean_a
    assert "seed:1|" in first.signature
    assert os.environ.get("SACREBLEU_SEED") == before


@pytest.mark.parametrize("wrong", [{"seed": 0}, {"n": 0}])
def test_a_seed_or_a_number_below_one_is_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        paired_bootstrap(HYPS, HYPS, REFS, **wrong)


@pytest.mark.parametrize(
    ("hyps", "refs", "said"),
    [
        (HYPS[:4], REFS, "4 translations but references for 5 sentences"),
        ([], [], "no sentences"),
        (HYPS, [*REFS[:2], [], *REFS[3:]], "Sentence 3 of the test set has no reference"),
    ],
)
def test_counts_that_do_not_fit_are_said(hyps, refs, said):
    with pytest.raises(DataError, match=said):
        evaluate_translations(hyps, refs)
    with pytest.raises(DataError, match=said):
        bleu_by_length(hyps, refs, hyps)
    with pytest.raises(DataError, match=said):
        paired_bootstrap(hyps, hyps, refs)


def test_a_source_for_each_translation_is_asked_for():
    with pytest.raises(DataError, match="3 source sentences but 5 translations"):
        bleu_by_length(HYPS, REFS, HYPS[:3])


def test_references_that_are_not_grouped_are_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="a list of references for each"):
        evaluate_translations(HYPS, [group[0] for group in REFS])


def test_a_tokenizer_whose_package_is_missing_says_how_to_get_it():
    if importlib.util.find_spec("MeCab"):
        pytest.skip("MeCab is installed here")
    with pytest.raises(DataError, match=r"pip install 'sacrebleu\[ja\]'"):
        corpus_bleu(HYPS, REFS, settings=MetricSettings(tokenize="ja-mecab"))
