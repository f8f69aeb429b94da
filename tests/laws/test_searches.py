"""Laws that every search keeps, on a toy whose next token depends on the source and on everything written so far."""

import itertools

import pytest
import torch

from sightline.decoding import DecodingSettings, Hypothesis, beam_search, greedy, score

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
    words = [token for token in range(model.vocab) if token not in (PAD, BOS, EOS)]
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
