"""Laws that every search keeps, on a toy whose next token depends on the source and on everything written so far."""

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch

from sightline.decoding import Constraint, DecodingSettings, Ensemble, Hypothesis, beam_search, greedy, sample, score
from sightline.decoding.phrases import contains
from sightline.decoding.sampling import candidates, draw

PAD, BOS, EOS = 0, 1, 2
NORMS = [("none", 0.0), ("average", 1.0), ("average", 0.6), ("average", -0.5), ("wu", 0.6), ("wu", 2.0), ("wu", -1.0)]
SEEDS = range(4)


class ToyState:
    """The source and the whole prefix of each row, each as one number: a wrong reorder cannot stay unseen."""

    def __init__(self, source):
        self.source, self.prefix = source, torch.zeros_like(source)

    def reorder(self, index):
        self.source, self.prefix = self.source[index], self.prefix[index]


class Toy:
    """Random logits for each source and prefix; `coarse` rounds them, so that equals are common."""

    pad_id, bos_id, eos_id = PAD, BOS, EOS

    def __init__(self, vocab=5, seed=0, coarse=False):
        generator = torch.Generator().manual_seed(seed)
        self.vocab = vocab
        self.table = torch.randn(997, vocab, generator=generator) * 1.5
        if coarse:
            self.table = self.table.round()

    def start(self, src):
        return ToyState((src * (src != PAD)).sum(1) * 31 % 997)

    def step(self, tokens, state):
        state.prefix = (state.prefix * 7 + tokens + 1) % 997
        return self.table[(state.source * 13 + state.prefix) % 997]


def sources(count=6):
    generator = torch.Generator().manual_seed(5)
    src = torch.randint(3, 40, (count, 7), generator=generator)
    for row, length in enumerate(torch.randint(1, 7, (count,), generator=generator).tolist()):
        src[row, length] = EOS
        src[row, length + 1 :] = PAD
    return src


def settings(norm=("wu", 0.6), **changes):
    return DecodingSettings(length_norm=norm[0], length_penalty=norm[1], **changes)


def every_translation(model, row, chosen):
    """All translations of at most `max_len_extra` tokens, `eos` included, the best first: brute force."""
    words = [token for token in range(getattr(model, "vocab", 5)) if token not in (PAD, BOS, EOS)]
    found = []
    for length in range(chosen.min_len, chosen.max_len_extra):
        tgt = torch.tensor([[*tokens, EOS] for tokens in itertools.product(words, repeat=length)])
        found += score(model, row.expand(len(tgt), -1), tgt, chosen)
    return sorted(found, key=lambda hypothesis: -hypothesis.score)


def same(a: Hypothesis, b: Hypothesis) -> bool:
    return (a.tokens, a.finished) == (b.tokens, b.finished) and a.token_log_probs == pytest.approx(b.token_log_probs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stop", ["exact", "first"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_beam_of_one_is_the_greedy_search(seed, stop, coarse):
    model, chosen = Toy(vocab=12, seed=seed, coarse=coarse), settings(beam=1, stop=stop)
    best = beam_search(model, sources(), chosen)
    assert all(same(a, b) for [a], b in zip(best, greedy(model, sources(), chosen), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stop", ["exact", "first"])
def test_a_wide_beam_finds_what_brute_force_finds(seed, norm, stop):
    model = Toy(vocab=5, seed=seed)
    chosen = settings(norm, beam=40, n_best=7, stop=stop, max_len_ratio=0, max_len_extra=4)
    for row, found in zip(sources(), beam_search(model, sources(), chosen), strict=True):
        expected = every_translation(model, row, chosen)[:7]
        assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
        assert [hypothesis.score for hypothesis in found] == pytest.approx([each.score for each in expected])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("stop", ["exact", "first"])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_sentence_alone_is_translated_as_in_a_batch(seed, beam, stop, coarse):
    model, src, chosen = Toy(vocab=12, seed=seed, coarse=coarse), sources(), settings(beam=beam, n_best=beam, stop=stop)
    together = beam_search(model, src, chosen)
    for row, found in zip(src, together, strict=True):
        width = int((row != PAD).sum())
        assert beam_search(model, row[None, :width], chosen) == [found]
    assert beam_search(model, src.flip(0), chosen) == together[::-1]
    alone = [greedy(model, row[None], chosen)[0] for row in src]
    assert greedy(model, src, chosen) == alone


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n_best", [1, 3])
def test_exact_stopping_never_gives_a_worse_translation_than_stopping_early(seed, norm, n_best):
    model = Toy(vocab=12, seed=seed)
    exact = beam_search(model, sources(), settings(norm, stop="exact", n_best=n_best))
    first = beam_search(model, sources(), settings(norm, stop="first", n_best=n_best))
    for a, b in zip(exact, first, strict=True):
        assert all(x.score >= y.score or not y.finished for x, y in zip(a, b, strict=False))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
def test_exact_stopping_loses_nothing_against_searching_to_the_limit(seed, norm):
    model, chosen = Toy(vocab=8, seed=seed), settings(norm, n_best=2, max_len_ratio=0, max_len_extra=9)

    class Never(DecodingSettings):
        def best_score(self, log_prob, length, limit):
            return float("inf")

    patient = Never(**chosen.model_dump())
    assert beam_search(model, sources(), chosen) == beam_search(model, sources(), patient)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("min_len", [0, 3])
@pytest.mark.parametrize("stop", ["exact", "first"])
def test_the_best_come_first_are_all_different_and_within_the_limits(norm, min_len, stop):
    chosen = settings(norm, beam=5, n_best=5, min_len=min_len, stop=stop, max_len_ratio=0.5, max_len_extra=6)
    for row, found in zip(sources(), beam_search(Toy(vocab=9), sources(), chosen), strict=True):
        scores = [hypothesis.score for hypothesis in found]
        assert 1 <= len(found) <= 5
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(hypothesis.tokens) for hypothesis in found}) == len(found)
        limit = int(0.5 * int((row > EOS).sum())) + 6
        for hypothesis in found:
            assert min_len <= len(hypothesis.tokens) <= limit
            assert not {PAD, BOS, EOS} & set(hypothesis.tokens)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
def test_forced_scoring_gives_back_the_scores_of_a_search(seed, norm):
    model, src, chosen = Toy(vocab=9, seed=seed), sources(), settings(norm, beam=3, n_best=3)
    for row, found in zip(src, beam_search(model, src, chosen), strict=True):
        for hypothesis in found:
            tgt = torch.tensor([hypothesis.tokens + [EOS] * hypothesis.finished + [PAD, PAD]])
            [forced] = score(model, row[None], tgt, chosen)
            assert same(forced, hypothesis)
            assert forced.log_prob == pytest.approx(hypothesis.log_prob)
            assert forced.score == pytest.approx(hypothesis.score)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_any_number_format_of_the_logits_is_searched_in_float32(dtype):
    model = Toy(vocab=9, seed=1)
    model.table = model.table.to(torch.bfloat16).to(dtype)
    expected = Toy(vocab=9, seed=1)
    expected.table = expected.table.to(torch.bfloat16).float()
    assert beam_search(model, sources(), settings()) == beam_search(expected, sources(), settings())


def constrained_translations(model, row, chosen, asked):
    """Those of `every_translation` that keep to a constraint."""
    return [
        each
        for each in every_translation(model, row, chosen)
        if tuple(each.tokens[: len(asked.prefix)]) == asked.prefix
        and all(contains(each.tokens, phrase) for phrase in asked.include)
        and not any(contains(each.tokens, phrase) for phrase in asked.exclude)
        and not repeats(each.tokens, chosen.no_repeat_ngram)
    ]


def repeats(tokens, n):
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)] if n else []
    return len(set(grams)) < len(grams)


CONSTRAINTS = [
    Constraint(prefix=(4,)),
    Constraint(prefix=(3, 3)),
    Constraint(exclude=((3,), (4, 4))),
    Constraint(include=((4,),)),
    Constraint(include=((3, 4),)),
    Constraint(include=((4, 3), (3, 3))),
    Constraint(prefix=(4,), include=((3, 4),), exclude=((4, 4),)),
    None,
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("no_repeat", [0, 2])
def test_a_wide_beam_with_constraints_finds_what_brute_force_finds(seed, norm, no_repeat):
    model, src = Toy(vocab=5, seed=seed), sources(len(CONSTRAINTS))
    chosen = settings(norm, beam=60, n_best=5, max_len_ratio=0, max_len_extra=5, no_repeat_ngram=no_repeat)
    together = beam_search(model, src, chosen, CONSTRAINTS)
    for row, asked, found in zip(src, CONSTRAINTS, together, strict=True):
        expected = constrained_translations(model, row, chosen, asked or Constraint())[:5]
        assert expected and [each.tokens for each in found] == [each.tokens for each in expected], asked
        assert [each.score for each in found] == pytest.approx([each.score for each in expected])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("beam", [1, 2, 4])
def test_a_narrow_beam_keeps_to_its_constraints_alone_and_in_a_batch(seed, beam):
    model, src = Toy(vocab=9, seed=seed), sources(5)
    asked = [
        Constraint(include=((5, 6, 7), (8,))),
        Constraint(include=((3, 4), (4, 5)), exclude=((7,), (8, 8))),
        None,
        Constraint(prefix=(6, 6, 6)),
        Constraint(prefix=(5,), include=((5, 5),)),
    ]
    chosen = settings(beam=beam, n_best=beam, max_len_ratio=0, max_len_extra=15)
    together = beam_search(model, src, chosen, asked)
    assert beam_search(model, src[2:3], chosen) == [together[2]]
    for row, constraint, found in zip(src, asked, together, strict=True):
        assert beam_search(model, row[None], chosen, [constraint]) == [found]
        if constraint is not None:
            assert not constraint.missing(found[0].tokens)
            for each in found:
                assert tuple(each.tokens[: len(constraint.prefix)]) == constraint.prefix
                assert not any(contains(each.tokens, phrase) for phrase in constraint.exclude)
                assert not each.finished or not constraint.missing(each.tokens)


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_and_samples_keep_to_prefixes_and_exclusions_too(seed):
    model, src = Toy(vocab=7, seed=seed), sources(4)
    asked = [
        Constraint(prefix=(5, 5), exclude=((6,),)),
        None,
        Constraint(exclude=((3, 4), (4,))),
        Constraint(prefix=(3,)),
    ]
    chosen = settings(beam=1, no_repeat_ngram=3, max_len_ratio=0, max_len_extra=12)
    walked = greedy(model, src, chosen, asked)
    assert [best for [best] in beam_search(model, src, chosen, asked)] == walked
    drawn = sample(model, src, chosen.model_copy(update={"n_best": 3}), asked)
    for constraint, found in zip(asked, [[walk, *more] for walk, more in zip(walked, drawn, strict=True)], strict=True):
        for each in found:
            assert not repeats(each.tokens, 3)
            if constraint is not None:
                assert tuple(each.tokens[: len(constraint.prefix)]) == constraint.prefix
                assert not any(contains(each.tokens, phrase) for phrase in constraint.exclude)
    for search in (greedy, sample):
        with pytest.raises(ValueError, match="search with a beam"):
            search(model, src[:1], chosen, [Constraint(include=((3,),))])


@pytest.mark.parametrize("seed", SEEDS)
def test_groups_without_diversity_are_beams_side_by_side_and_with_it_they_differ(seed):
    model, src = Toy(vocab=9, seed=seed), sources()
    narrow = beam_search(model, src, settings(beam=2, n_best=2))
    same_groups = beam_search(model, src, settings(beam=6, beam_groups=3, diversity=0.0, n_best=2))
    assert [[each.tokens for each in found] for found in same_groups] == [
        [each.tokens for each in found] for found in narrow
    ]
    diverse = beam_search(model, src, settings(beam=6, beam_groups=3, diversity=50.0, n_best=6))
    for row, found in zip(src, diverse, strict=True):
        firsts = {each.tokens[0] if each.tokens else EOS for each in found}
        assert len(firsts) >= 3  # what two hypotheses have begun with is too dear for the groups after them
        assert beam_search(model, row[None], settings(beam=6, beam_groups=3, diversity=50.0, n_best=6)) == [found]
        for each in found:
            tgt = torch.tensor([each.tokens + [EOS] * each.finished])
            assert score(model, row[None], tgt, settings())[0].log_prob == pytest.approx(each.log_prob)


def test_samples_come_as_often_as_their_probabilities_say():
    model, src = Toy(vocab=5, seed=3), sources(1)
    chosen = settings(sample=True, n_best=4000, max_len_ratio=0, max_len_extra=3)
    [found] = sample(model, src, chosen)
    counts = Counter((tuple(each.tokens), each.finished) for each in found)
    for each in found[:200]:
        share = counts[tuple(each.tokens), each.finished] / len(found)
        assert share == pytest.approx(math.exp(each.log_prob) / possible(model, src, each), abs=0.03)


def possible(model, src, each):
    """The product of what `pad` and `bos`, which are never drawn, leave to the others at each step of a hypothesis."""
    state, newest, product = model.start(src), torch.tensor([BOS]), 1.0
    for token in [*each.tokens, EOS][: len(each.token_log_probs)]:
        p = torch.softmax(model.step(newest, state), dim=1)[0]
        product *= float(1 - p[PAD] - p[BOS])
        newest = torch.tensor([token])
    return product


def test_samples_are_the_same_in_any_batch_and_others_with_another_seed():
    model, src, chosen = Toy(vocab=12, seed=1), sources(), settings(sample=True, n_best=3, temperature=1.3)
    together = sample(model, src, chosen)
    assert [sample(model, row[None], chosen)[0] for row in src] == together
    assert sample(model, src, chosen.model_copy(update={"seed": 5})) != together
    cold = sample(model, src, chosen.model_copy(update={"temperature": 1e-3, "n_best": 1}))
    assert [best.tokens for [best] in cold] == [best.tokens for best in greedy(model, src, settings())]
    only = sample(model, src, chosen.model_copy(update={"top_k": 1, "n_best": 1}))
    assert [best.tokens for [best] in only] == [best.tokens for best in greedy(model, src, settings())]


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 2}, {1, 3}),
        ({"top_p": 0.4}, {1}),
        ({"top_p": 0.5}, {1, 3}),
        ({"top_p": 0.9}, {1, 3, 0, 2}),
        ({"min_p": 0.4}, {1, 3, 0}),
        ({"min_p": 0.4, "temperature": 0.5}, {1, 3}),
        ({"top_k": 3, "top_p": 0.5}, {1, 3}),
        ({"top_k": 4, "min_p": 1.0}, {1}),
    ],
)
def test_what_samples_are_drawn_from(more, kept):
    p = torch.tensor([[0.17, 0.4, 0.1, 0.3, 0.03]])
    left = candidates(p.log(), settings(sample=True, **more))[0]
    assert {i for i, value in enumerate(left.tolist()) if value > 0} == kept
    if "temperature" not in more:
        assert left[left > 0].tolist() == pytest.approx(p[0][left > 0].tolist())


def test_drawing_walks_through_the_running_sum():
    weights = torch.tensor([[0.0, 2.0, 0.0, 1.0, 1.0, 0.0]], dtype=torch.float64).expand(5, -1)
    drawn = torch.tensor([0.0, 0.49, 0.5, 0.75, 1.0 - 1e-16], dtype=torch.float64)
    assert draw(weights, drawn).tolist() == [1, 1, 3, 4, 4]


@pytest.mark.parametrize("seed", SEEDS)
def test_an_ensemble_of_one_model_is_that_model_and_of_two_their_mean(seed):
    one, two, src, chosen = (
        Toy(vocab=5, seed=seed),
        Toy(vocab=5, seed=seed + 50),
        sources(),
        settings(beam=40, n_best=3),
    )
    chosen = chosen.model_copy(update={"max_len_ratio": 0.0, "max_len_extra": 4})
    alone = beam_search(one, src, chosen)
    for same_models in (Ensemble([one]), Ensemble([one, one], [1.0, 3.0]), Ensemble([one, two], [1.0, 1e-12])):
        found = beam_search(same_models, src, chosen)
        assert all(same(a, b) for x, y in zip(found, alone, strict=True) for a, b in zip(x, y, strict=True))
    both = Ensemble([one, two])
    for row, found in zip(src, beam_search(both, src, chosen), strict=True):
        expected = every_translation(both, row, chosen)[:3]
        assert [each.tokens for each in found] == [each.tokens for each in expected]
        first = torch.tensor([[expected[0].tokens[0] if expected[0].tokens else EOS]])
        each = [math.exp(score(model, row[None], first)[0].token_log_probs[0]) for model in (one, two)]
        assert found[0].token_log_probs[0] == pytest.approx(math.log(sum(each) / 2))


def test_an_ensemble_of_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 models need as many weights"):
        Ensemble([Toy(), Toy()], [1.0])
    other = Toy()
    other.eos_id = 4
    with pytest.raises(ValueError, match="differ"):
        Ensemble([Toy(), other])
    with pytest.raises(ValueError, match=r"vocabularies differ: \[5, 6\]"):
        greedy(Ensemble([Toy(5), Toy(6)]), sources(), settings())


class Looking(Toy):
    """A toy that looks at the source token as far on as the last token's number says, and a little at all of them."""

    def start(self, src) -> Any:
        return LookingState(src, super().start(src))

    def step(self, tokens, state):
        exists = (state.src != PAD).float()
        weights = exists / exists.sum(dim=1, keepdim=True)
        place = tokens % exists.sum(dim=1).long()
        state.weights = 0.5 * weights + 0.5 * torch.nn.functional.one_hot(place, state.src.shape[1])
        return super().step(tokens, state.inner)


class LookingState:
    def __init__(self, src, inner):
        self.src, self.inner, self.watched, self.weights = src, inner, False, torch.zeros(0)

    def reorder(self, index):
        self.src = self.src[index]
        self.inner.reorder(index)

    def watch(self):
        self.watched = True

    def attention(self):
        assert self.watched
        return self.weights


def coverage_of(model, row, tokens, finished):
    state, newest, total = model.start(row[None]), BOS, torch.zeros(len(row))
    for token in [*tokens, EOS][: len(tokens) + finished]:
        model.step(torch.tensor([newest]), state)
        total, newest = total + state.weights[0], token
    return float(total[row != PAD].clamp(max=1.0).log().sum())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("stop", ["exact", "first"])
def test_the_coverage_penalty_is_the_published_one_and_the_best_is_found(seed, stop):
    model, src = Looking(vocab=5, seed=seed), sources()
    chosen = settings(("wu", 0.6), beam=40, n_best=4, stop=stop, max_len_ratio=0, max_len_extra=4, coverage_penalty=0.4)
    plain = chosen.model_copy(update={"coverage_penalty": 0.0})
    for row, found in zip(src, beam_search(model, src, chosen), strict=True):
        expected = {
            tuple(each.tokens): each.score + 0.4 * coverage_of(model, row, each.tokens, True)
            for each in every_translation(Toy(vocab=5, seed=seed), row, plain)
        }
        best = sorted(expected, key=lambda tokens: -expected[tokens])[:4]
        assert [tuple(each.tokens) for each in found] == best
        assert [each.score for each in found] == pytest.approx([expected[tokens] for tokens in best], rel=1e-4)
    narrow = chosen.model_copy(update={"beam": 2, "n_best": 2})
    together = beam_search(model, src, narrow)
    assert [beam_search(model, row[None, : int((row != PAD).sum())], narrow)[0] for row in src] == together
    both = beam_search(Ensemble([model, model]), src, narrow)
    assert all(same(a, b) for x, y in zip(both, together, strict=True) for a, b in zip(x, y, strict=True))


def test_a_coverage_penalty_needs_a_model_that_shows_what_it_looks_at():
    with pytest.raises(ValueError, match="ToyState does not"):
        beam_search(Toy(), sources(), settings(coverage_penalty=0.2))
