import itertools

import pytest
import torch

from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.settings import DecodingSettings
from sightline.errors import DataError
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.tasks.batched import score_texts, translate_gradually
from sightline.tasks.phrases import Wanted
from sightline.tasks.search import Translated, length_groups, most_alike, translate

LINES = [f"the {a} dog number {i} sees a {b} cat" for i, a in enumerate(("red", "big", "old")) for b in ("sad", "wet")]

Parts = tuple[EncoderDecoder, Tokenizer]


@pytest.fixture(scope="module")
def parts() -> Parts:
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=90, min_frequency=1), LINES, LINES)
    torch.manual_seed(3)
    config = TransformerConfig(d_model=32, n_heads=4, d_ff=64, n_encoder_layers=2, n_decoder_layers=2)
    return build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval(), tokenizer


@pytest.mark.parametrize("beam", [1, 4])
def test_a_text_has_the_same_translation_alone_and_in_any_batch(parts: Parts, beam: int) -> None:
    texts = [line[: 8 + 7 * (i % 4)] for i, line in enumerate(LINES * 4)]
    whole, alone = (
        [
            best[0].text
            for best in translate(*parts, texts, None, DecodingSettings(beam=beam, batch_tokens=tokens), max_len=64)
        ]
        for tokens in (4000, 1)
    )
    assert whole == alone


def test_a_wide_beam_takes_fewer_sentences_at_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    start = EncoderDecoder.start
    monkeypatch.setattr(EncoderDecoder, "start", lambda self, src: seen.append(src.numel()) or start(self, src))
    translate(*parts, LINES, None, DecodingSettings(beam=4, batch_tokens=160), max_len=64)
    assert max(seen) <= 40 and len(seen) > 1


def test_order_is_kept_and_an_empty_text_stays_empty(parts: Parts) -> None:
    settings = DecodingSettings(beam=2)
    texts = [LINES[0], "", "   ", LINES[3][:9]]
    found = [best[0].text for best in translate(*parts, texts, None, settings, 64)]
    assert found[1] == found[2] == ""
    assert found[0] == translate(*parts, [LINES[0]], None, settings, 64)[0][0].text


def test_a_text_beyond_the_models_length_is_cut_and_says_so(parts: Parts) -> None:
    found = translate(*parts, [LINES[0], "the dog"], None, DecodingSettings(beam=1), max_len=6)
    assert [best[0].truncated for best in found] == [True, False]


def test_n_best_are_distinct_and_in_order_of_score(parts: Parts) -> None:
    best = translate(*parts, [LINES[1]], None, DecodingSettings(beam=4, n_best=4), 64)[0]
    scores = [t.score for t in best]
    assert scores == sorted(scores, reverse=True)
    assert len({tuple(t.hypothesis.tokens) for t in best}) == len(best)


def test_groups_hold_their_budget_and_everything_once() -> None:
    lengths = [3, 50, 7, 7, 1, 20]
    groups = list(length_groups(lengths, 40))
    assert sorted(i for g in groups for i in g) == list(range(6))
    assert all(len(g) == 1 or len(g) * max(lengths[i] for i in g) <= 40 for g in groups)


def test_translations_hold_what_is_asked_and_not_what_is_not(parts: Parts) -> None:
    settings = DecodingSettings(beam=4, max_len_ratio=0, max_len_extra=30)
    wanted = Wanted(prefix="the b", include=("sad cat",), exclude=("dog", "red"))
    for [best, *_] in translate(*parts, LINES, None, settings, 64, wanted):
        assert best.text.startswith("the b") and "sad cat" in best.text
        assert not {"dog", "red"} & set(best.text.split())
    assert translate(*parts, LINES, None, settings, 64, Wanted()) == translate(*parts, LINES, None, settings, 64)


def test_an_excluded_phrase_does_not_come_in_other_tokens_either(parts: Parts) -> None:
    model, tokenizer = parts
    plain = translate(model, tokenizer, LINES, None, DecodingSettings(beam=2), 64)
    words = {word for [best, *_] in plain for word in best.text.split() if word.isalpha()}
    wanted = Wanted(exclude=tuple(sorted(words)))
    own = {wanted.as_tokens(tokenizer).exclude}
    for settings in (DecodingSettings(beam=2), DecodingSettings(beam=1), DecodingSettings(sample=True, n_best=2)):
        found = [best.text for [best, *_] in translate(model, tokenizer, LINES, None, settings, 64, wanted)]
        assert words and own and not any(words & set(text.split()) for text in found)


def test_the_tokens_of_a_phrase_are_found_where_it_is_whole_words() -> None:
    tokenizer = Tokenizer.train(
        TokenizerSettings(kind="char", min_frequency=1), ["he hello 他们你好"], ["he hello 他们你好"]
    )

    def forbidden(phrase: str, text: str) -> str:
        tokens = tokenizer.encode_tgt([text])[0][:-1]
        return tokenizer.decode_tgt(Wanted(exclude=(phrase,)).forbidden_tokens(tokenizer, tokens))

    assert forbidden("he", "hello hello") == "" and forbidden("he", "hello he") == "he"
    assert forbidden("你", "他们你好") == "你" and forbidden("hello he", "hello he") == "hello he"


def test_given_translations_are_scored_as_the_search_scores_them(parts: Parts) -> None:
    settings = DecodingSettings(beam=3, n_best=3, length_norm="average", length_penalty=1.0)
    found = translate(*parts, LINES, None, settings, 64)
    for k in range(3):
        texts = [each[k].text for each in found]
        scored = score_texts(*parts, LINES, texts, None, settings.model_copy(update={"batch_tokens": 40}), 64)
        for each, best, text in zip(scored, found, texts, strict=True):
            if best[k].hypothesis.finished and parts[1].encode_tgt([text])[0][:-1] == best[k].hypothesis.tokens:
                assert each.score == pytest.approx(best[k].score, rel=1e-4)
            assert each.log_prob == pytest.approx(sum(p for _, p in each.pieces), rel=1e-5)
            assert each.pieces[-1][0] == "</s>"
    with pytest.raises(DataError, match="6 texts and 1 translations"):
        score_texts(*parts, LINES, ["the"], None, settings, 64)
    with pytest.raises(DataError, match="the model takes 5"):
        score_texts(*parts, LINES, LINES, None, settings, 5)


def test_samples_are_as_many_as_asked_and_the_same_in_any_batch(parts: Parts) -> None:
    settings = DecodingSettings(sample=True, n_best=5, temperature=2.0)
    whole = translate(*parts, LINES, None, settings, 64)
    alone = [translate(*parts, [line], None, settings, 64)[0] for line in LINES]
    assert [[t.text for t in found] for found in whole] == [[t.text for t in found] for found in alone]
    assert all(len(found) == 5 for found in whole)


def test_of_samples_the_one_most_like_the_others_is_given(parts: Parts) -> None:
    drawn = [
        Translated(text, 0.0, Hypothesis([], 0.0, 0.0, [], True))
        for text in ("the cat", "a cow", "the cat", "the rat", "x")
    ]
    best, *others = most_alike(drawn, 3)
    assert best.text == "the cat" and len(others) == 2 and 0 <= others[1].score <= others[0].score <= best.score < 1
    assert most_alike(drawn[:1], 1)[0].text == "the cat"
    settings = DecodingSettings(mbr=8, n_best=3, temperature=0.7)
    found = translate(*parts, LINES, None, settings, 64)
    assert found == translate(*parts, LINES, None, settings, 64) and all(1 <= len(each) <= 3 for each in found)
    samples = translate(*parts, LINES, None, DecodingSettings(sample=True, n_best=8, temperature=0.7), 64)
    for each, drawn in zip(found, samples, strict=True):
        assert {t.text for t in each} <= {t.text for t in drawn}
    assert [t.text for t in most_alike(samples[0], 3)] == [t.text for t in found[0]]


def test_a_translation_grows_to_what_the_greedy_search_gives(parts: Parts) -> None:
    settings = DecodingSettings(beam=1, max_len_ratio=0, max_len_extra=12)
    steps = list(translate_gradually(*parts, LINES[0], "", settings, 64))
    assert steps[-1] == translate(*parts, [LINES[0]], None, settings, 64)[0][0].text
    assert len(steps) > 3 and all(later.startswith(sooner) for sooner, later in itertools.pairwise(steps))
    assert list(translate_gradually(*parts, "  ", "", settings, 64)) == []
    drawn = settings.model_copy(update={"sample": True})
    assert (
        list(translate_gradually(*parts, LINES[0], "", drawn, 64))[-1]
        == translate(*parts, [LINES[0]], None, drawn, 64)[0][0].text
    )


def test_groups_side_by_side_give_what_they_give_one_after_another(parts: Parts) -> None:
    before, texts = torch.get_num_threads(), [line[: 8 + 7 * (i % 4)] for i, line in enumerate(LINES * 4)]
    settings = DecodingSettings(beam=3, batch_tokens=200)
    for chosen in (settings, DecodingSettings(sample=True, n_best=2, batch_tokens=200)):
        alone = translate(*parts, texts, None, chosen, 64)
        both = translate(*parts, texts, None, chosen, 64, threads=2)
        assert [[t.text for t in found] for found in both] == [[t.text for t in found] for found in alone]
    with pytest.raises(DataError):
        translate(*parts, texts, "xx", settings, 64, threads=2)
    assert torch.get_num_threads() == before
