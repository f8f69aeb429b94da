"""Alignments read from a model's attention."""

import itertools

import pytest
import torch

from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import UserError
from sightline.inspection.alignment import Pieces, Place, agreement, align, best_places, places, turned, usual_place
from sightline.inspection.trace import trace
from sightline.metrics.alignment import Links
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig, TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder

LINES = ["eins zwei drei vier", "drei zwei eins", "zwei vier", "vier drei zwei eins fünf"]
Parts = tuple[EncoderDecoder, Tokenizer]


@pytest.fixture
def parts() -> Parts:
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=60, min_frequency=1), LINES, LINES, ("de", "en"))
    torch.manual_seed(3)
    config = TransformerConfig(d_model=32, n_heads=4, d_ff=64, n_encoder_layers=1, n_decoder_layers=2)
    return build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval(), tokenizer


def looking(model: EncoderDecoder, monkeypatch: pytest.MonkeyPatch, at: list[int]) -> None:
    """Every head of the last decoder layer looks, from target position t, at source position `at[t]`."""
    core = model.decoder.get_submodule("1").get_submodule("cross_attn").get_submodule("core")

    def weights(q: torch.Tensor, k: torch.Tensor, _: object) -> torch.Tensor:
        found = torch.zeros(*q.shape[:3], k.shape[2])
        for t, s in enumerate(at[: q.shape[2]]):
            found[:, :, t, s] = 1.0
        return found

    monkeypatch.setattr(core, "weights", weights)


def test_tokens_are_linked_to_what_they_look_at_and_words_to_words(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = parts
    src, tgt = ["eins", "zwei", "xyz"], ["drei", "vier"]
    source, target = Pieces.of(src, tokenizer.encode_src), Pieces.of(tgt, tokenizer.encode_tgt)
    assert source.words[0] == 0 and source.words[-1] == 2 and len(source.ids) == len(source.words)
    last, first = len(source.ids) - 1, 0  # the last source token and the first, with a tag before them
    n = target.words.count(0)
    looking(model, monkeypatch, [1 + last] * n + [1 + first] * (len(target.ids) - n + 1))
    [written] = align(model, tokenizer, [(src, tgt)], "en", [Place(1)])
    assert written == [frozenset({(2, 0), (0, 1)})]
    looking(model, monkeypatch, [0] + [1 + last] * n + [1 + first] * (len(target.ids) - n))
    [read] = align(model, tokenizer, [(src, tgt)], "en", [Place(1, 3, after=True)])
    assert read == [frozenset({(2, 0), (0, 1)})]


def test_pairs_have_the_same_alignment_alone_and_in_a_batch(parts: Parts) -> None:
    pairs = [(a.split(), b.split()) for a in LINES for b in LINES] + [([], ["eins"]), (["eins"], [])]
    where = places(parts[0])
    assert len(where) == 2 * 5 * 2
    together = align(*parts, pairs, "en", where)
    alone = [align(*parts, [pair], "en", where) for pair in pairs]
    assert together == [[alone[i][k][0] for i in range(len(pairs))] for k in range(len(where))]
    assert together[0][-1] == together[0][-2] == frozenset()


def test_the_place_is_where_both_directions_agree_most(parts: Parts) -> None:
    pairs = [(a.split(), b.split()) for a, b in itertools.pairwise(LINES)]
    forth, back, agreed = best_places(*parts, pairs, ("de", "en"))
    where = places(parts[0])
    one = align(*parts, pairs, "en", where)
    other = align(*parts, [(b, a) for a, b in pairs], "de", where)
    every = [agreement(a, [turned(x) for x in b]) for a in one for b in other]
    assert agreed == max(every) == agreement(one[where.index(forth)], [turned(x) for x in other[where.index(back)]])


def test_a_place_has_a_short_name(parts: Parts) -> None:
    assert [str(place) for place in places(parts[0])][:5] == ["0w", "0r", "0:0w", "0:0r", "0:1w"]
    assert all(Place.parse(str(place)) == place for place in places(parts[0]))
    assert Place.parse("2:1") == Place(2, 1, after=True)
    with pytest.raises(ValueError, match="no place"):
        Place.parse("2:x")


def test_a_mark_cut_off_from_its_word_is_encoded_as_if_it_was_not() -> None:
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=40, min_frequency=1), ["Tee. Ei, Tee."], ["Tee. Ei, Tee."])
    joined = tokenizer.encode_src(["Tee. Ei, Tee."])[0][:-1]
    assert Pieces.of(["Tee", ".", "Ei", ",", "Tee", "."], tokenizer.encode_src).ids == joined


def test_agreement_is_the_share_of_common_links() -> None:
    a: list[Links] = [frozenset({(0, 0), (1, 1)})]
    assert agreement(a, a) == 1.0 and agreement(a, [frozenset({(2, 2)})]) == 0.0
    assert agreement(a, [frozenset({(0, 0), (2, 2)})]) == pytest.approx(0.5)
    assert turned(frozenset({(0, 3)})) == {(3, 0)}


def test_where_an_alignment_is_read_is_said_by_the_family(parts: Parts) -> None:
    assert usual_place(parts[0]) == Place(0, None, after=True)
    size = parts[1].src_vocab_size
    recurrent = build_model(RecurrentConfig(d_model=8, n_decoder_layers=3, n_heads=2), size, size)
    assert usual_place(recurrent) == Place(0, None, after=False)
    assert [str(place) for place in places(recurrent)] == ["0w", "0r", "0:0w", "0:0r", "0:1w", "0:1r"]
    bare = build_model(RecurrentConfig(d_model=8, attention="none"), size, size)
    assert places(bare) == []
    with pytest.raises(UserError, match="no attention"):
        usual_place(bare)


@pytest.mark.parametrize("attend", ["before", "after"])
def test_words_written_by_a_recurrent_model_come_from_where_it_looks_most(parts: Parts, attend: str) -> None:
    tokenizer = parts[1]
    torch.manual_seed(6)
    config = RecurrentConfig.model_validate({"d_model": 16, "attend": attend})
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(0.0, 0.5)
    src, tgt = ["eins", "zwei", "vier"], ["drei", "eins", "zwei"]
    source, target = Pieces.of(src, tokenizer.encode_src), Pieces.of(tgt, tokenizer.encode_tgt)
    ids = [tokenizer.tag_id("en"), *source.ids, tokenizer.eos_id]
    with trace(model) as seen, torch.no_grad():
        model(torch.tensor([ids]), torch.tensor([[tokenizer.bos_id, *target.ids]]))
    weights = seen["decoder.0.cross_attn"][0, 0, : len(target.ids), 1:-1]
    expected = {(source.words[int(row.argmax())], target.words[t]) for t, row in enumerate(weights)}
    pairs = [(src, tgt), (["vier"], ["eins"] * 4), ([], tgt)]
    assert align(model, tokenizer, pairs, "en", [usual_place(model)])[0][0] == expected
