import pytest
import torch

from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.protocol import DecodingSettings
from sightline.models.build import ModelConfig, build_model
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.tasks.translation import length_groups, translate

LINES = [f"the {a} dog number {i} sees a {b} cat" for i, a in enumerate(("red", "big", "old")) for b in ("sad", "wet")]

Parts = tuple[EncoderDecoder, Tokenizer]


@pytest.fixture(scope="module")
def parts() -> Parts:
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=90, min_frequency=1), LINES, LINES)
    torch.manual_seed(3)
    config = ModelConfig(d_model=32, n_heads=4, d_ff=64, n_encoder_layers=2, n_decoder_layers=2)
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
