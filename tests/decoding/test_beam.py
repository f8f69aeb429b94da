"""Beam search and greedy search on a table small enough to follow by hand."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from sightline.decoding import DecodingSettings, beam_search, greedy, score

PAD, BOS, EOS, A, B, C = range(6)


class Rows:
    """A state that remembers nothing but which sentence a row is of, and counts what is asked of it."""

    def __init__(self, sentences):
        self.sentences, self.reorders = sentences, []

    def reorder(self, index):
        self.reorders.append(index.tolist())
        self.sentences = self.sentences[index]


class Chain:
    """The next token depends on the newest one only: `{token: {next: probability}}`, the rest impossible."""

    pad_id, bos_id, eos_id = PAD, BOS, EOS

    def __init__(self, following, vocab=6):
        table = torch.zeros(vocab, vocab)
        for token, chances in following.items():
            for then, chance in chances.items():
                table[token, then] = chance
        self.logits = table.log()
        self.widths = []

    def start(self, src):
        self.state = Rows(torch.arange(len(src)))
        return self.state

    def step(self, tokens, state):
        self.widths.append(len(tokens))
        return self.logits[tokens]


GARDEN = {  # the best first token leads to the worse sentence
    BOS: {A: 0.6, B: 0.4},
    A: {A: 0.4, B: 0.3, EOS: 0.3},
    B: {EOS: 0.9, A: 0.1},
}
SRC = torch.tensor([[A, B, EOS]])


def plain(**changes):
    return DecodingSettings(length_norm="none", **changes)


def test_greedy_takes_the_best_token_and_a_beam_the_better_sentence():
    [walked] = greedy(Chain(GARDEN), SRC, plain(max_len_ratio=0, max_len_extra=4))
    assert (walked.tokens, walked.finished) == ([A, A, A, A], False)
    [[best]] = beam_search(Chain(GARDEN), SRC, plain(beam=2))
    assert (best.tokens, best.finished) == ([B], True)
    assert best.token_log_probs == pytest.approx([math.log(0.4), math.log(0.9)])
    assert best.log_prob == best.score == pytest.approx(math.log(0.36))


def test_the_best_few_are_given_in_order():
    [found] = beam_search(Chain(GARDEN), SRC, plain(beam=4, n_best=3))
    assert [hypothesis.tokens for hypothesis in found] == [[B], [A], [A, B]]
    assert [math.exp(hypothesis.log_prob) for hypothesis in found] == pytest.approx([0.36, 0.18, 0.162])


def test_equals_are_taken_in_the_order_of_their_numbers():
    equal = {token: {A: 0.25, B: 0.25, C: 0.25, EOS: 0.25} for token in (BOS, A, B, C)}
    settings = DecodingSettings(length_norm="average", length_penalty=1.0, beam=3, n_best=3, min_len=1, stop="first")
    [found] = beam_search(Chain(equal), SRC, settings)
    assert [hypothesis.tokens for hypothesis in found] == [[A], [A, A], [A, A, A]]
    [walked] = greedy(Chain(equal), SRC, settings)
    assert walked.tokens == [A]  # the end has the lowest number of all, and may not come first


def test_the_limit_ends_a_sentence_that_never_ends_as_it_is():
    endless = Chain({BOS: {A: 1.0}, A: {A: 0.5, B: 0.5}, B: {A: 1.0}})
    settings = DecodingSettings(beam=2, n_best=2, max_len_ratio=1.5, max_len_extra=1)  # int(1.5 * 2 words) + 1 = 4
    [found] = beam_search(endless, SRC, settings)
    assert [(hypothesis.tokens, hypothesis.finished) for hypothesis in found] == [
        ([A, B, A, A], False),
        ([A, B, A, B], False),
    ]
    assert len(endless.widths) == 4
    [walked] = greedy(endless, SRC, settings)
    assert (walked.tokens, walked.finished) == ([A, A, A, A], False)
    assert walked.score == pytest.approx(3 * math.log(0.5) / ((5 + 4) / 6) ** 0.6)


def test_one_finished_hypothesis_is_preferred_to_better_unfinished_ones():
    reluctant = {BOS: {A: 0.99, EOS: 0.01}, A: {A: 1.0}}
    [found] = beam_search(Chain(reluctant), SRC, plain(beam=2, n_best=2))
    assert [(hypothesis.tokens, hypothesis.finished) for hypothesis in found] == [([], True)]


def test_the_models_own_limit_is_never_passed():
    class Short(Chain):
        max_len = 3

    endless = Short({BOS: {A: 1.0}, A: {A: 1.0}})
    assert [len(best[0].tokens) for best in beam_search(endless, SRC, plain())] == [3]
    assert [len(best.tokens) for best in greedy(endless, SRC, plain())] == [3]


def test_padding_and_begin_are_never_written_however_probable():
    greedy_for_pad = {BOS: {PAD: 0.5, BOS: 0.4, A: 0.1}, A: {PAD: 0.9, EOS: 0.1}}
    for best in (
        greedy(Chain(greedy_for_pad), SRC, plain())[0],
        beam_search(Chain(greedy_for_pad), SRC, plain())[0][0],
    ):
        assert best.tokens == [A]
        assert math.exp(best.log_prob) == pytest.approx(0.01)  # of the whole vocabulary: nothing is renormalised


def test_finished_sentences_leave_the_batch():
    class TwoKinds(Chain):
        def step(self, tokens, state):
            self.widths.append(len(tokens))
            logits = self.logits[tokens].clone()
            logits[state.sentences == 0] = torch.tensor([0.0, 0, 0.9, 0.1, 0, 0]).log()
            return logits

    model = TwoKinds({BOS: {A: 1.0}, A: {B: 1.0}, B: {C: 1.0}, C: {EOS: 1.0}})
    short, long = beam_search(model, SRC.expand(2, -1), plain(beam=2))
    assert (short[0].tokens, long[0].tokens) == ([], [A, B, C])
    assert model.widths == [2, 2, 2, 2]  # two sentences at first, then one with a beam of two
    model.widths.clear()
    greedy(model, SRC.expand(2, -1), plain())
    assert model.widths == [2, 1, 1, 1]


def test_a_state_is_not_reordered_where_nothing_changes():
    model = Chain({BOS: {A: 0.7, B: 0.3}, A: {A: 0.9, EOS: 0.1}, B: {B: 0.9, EOS: 0.1}})
    beam_search(model, SRC, plain(beam=2, max_len_ratio=0, max_len_extra=6, min_len=5))
    assert model.state.reorders[0] == [0, 0]
    assert [0, 1] not in model.state.reorders
    greedy(model, SRC, plain(max_len_ratio=0, max_len_extra=6, min_len=5))
    assert model.state.reorders == []


def test_a_longer_sentence_wins_when_the_length_counts_more():
    model = {BOS: {A: 0.5, B: 0.5}, A: {EOS: 1.0}, B: {C: 0.8, EOS: 0.2}, C: {EOS: 1.0}}
    shorter = DecodingSettings(length_norm="average", length_penalty=0.1)
    longer = DecodingSettings(length_norm="average", length_penalty=2.0)
    assert beam_search(Chain(model), SRC, shorter)[0][0].tokens == [A]
    [[best]] = beam_search(Chain(model), SRC, longer)
    assert best.tokens == [B, C]
    assert best.score == pytest.approx(math.log(0.4) / 3**2.0)  # three tokens: the end counts


def test_nothing_to_translate_gives_nothing():
    assert beam_search(Chain(GARDEN), SRC[:0], plain()) == []
    assert greedy(Chain(GARDEN), SRC[:0], plain()) == []


def test_a_search_keeps_no_gradients():
    seen = []

    class Watched(Chain):
        def step(self, tokens, state):
            seen.append(torch.is_inference_mode_enabled())
            return super().step(tokens, state)

    beam_search(Watched(GARDEN), SRC, plain())
    greedy(Watched(GARDEN), SRC, plain())
    score(Watched(GARDEN), SRC, torch.tensor([[B, EOS]]))
    assert all(seen)


def test_forced_scoring_adds_up_what_the_table_says():
    tgt = torch.tensor([[A, B, EOS, PAD], [B, EOS, PAD, PAD], [A, A, A, A]])
    both, short, open_ended = score(Chain(GARDEN), SRC.expand(3, -1), tgt, plain())
    assert math.exp(both.log_prob) == pytest.approx(0.6 * 0.3 * 0.9)
    assert (short.tokens, short.finished) == ([B], True)
    assert math.exp(short.log_prob) == pytest.approx(0.36)
    assert (open_ended.tokens, open_ended.finished) == ([A, A, A, A], False)
    assert len(open_ended.token_log_probs) == 4
    assert score(Chain(GARDEN), SRC, tgt[1:2])[0].score == pytest.approx(math.log(0.36) / (7 / 6) ** 0.6)


def test_forced_scoring_wants_a_translation_for_each_source():
    with pytest.raises((ValueError, TypeCheckError), match=r"src has 2 rows and tgt 1|tgt"):
        score(Chain(GARDEN), SRC.expand(2, -1), torch.tensor([[A, EOS]]))
