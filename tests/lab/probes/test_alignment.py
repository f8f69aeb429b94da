"""Which words a system looks at."""

import itertools
from pathlib import Path

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer
from sightline.errors import DataError
from sightline.inspection.alignment import Place, align, places
from sightline.inspection.trace import trace
from sightline.lab.parts import HeatMap, Said, Table
from sightline.lab.probes.alignment import (
    GoldPairs,
    Look,
    alignment_section,
    diagonal,
    fits,
    fitting,
    has_attention,
    looks,
    read_gold_pairs,
    score_places,
    sharpest,
    told,
)
from sightline.lab.probes.fresh import Trained
from sightline.metrics.alignment import Gold, alignment_error_rate
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig

SRC, TGT = ["a", "dog", "saw", "tom", "."], ["the", "snow", "saw", "a", "dog"]


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    (tmp_path / "a.src-tgt").write_text("tom saw jerry ||| jerry saw tom\na dog ||| the snow\ntom ||| tom\n")
    (tmp_path / "a.gold").write_text("1-3 2-2 3p1\n1-1 2-2\n1-1\n")
    return tmp_path / "a.gold"


def test_gold_links_are_counted_from_nought_and_stand_beside_their_words(gold: Path) -> None:
    data = read_gold_pairs(gold, 1, chosen_on=2)
    assert data.pairs[0] == (["tom", "saw", "jerry"], ["jerry", "saw", "tom"])
    assert data.gold[0].sure == {(0, 2), (1, 1)} and data.gold[0].possible == {(0, 2), (1, 1), (2, 0)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gold", "1-1\n0-1\n1-1\n", "line 2"),
        ("a.gold", "1-1\n", "1 lines, and there are 3 sentence pairs"),
        ("a.src-tgt", "tom tom\n", r'line 1 has no "\|\|\|"'),
        ("a.gold", "1-1\n1-1\n1-1\n", "a.gold has 3 pairs, and on the first 3"),
    ],
)
def test_gold_that_cannot_be_used_is_named(gold: Path, name: str, text: str, message: str) -> None:
    (gold.parent / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_gold_pairs(gold, 1, chosen_on=3)


def test_a_look_is_what_a_translation_step_by_step_looked_at(trained: list[Trained], tokenizer: Tokenizer) -> None:
    seen_some = 0
    for _, bundle in trained:
        if not has_attention(bundle):
            continue
        where = [place for place in places(bundle.model) if place.head == 0 and not place.after]
        found = looks(bundle, SRC, TGT, "", where)
        src, tgt = tokenizer.encode_src([" ".join(SRC)])[0], tokenizer.encode_tgt([" ".join(TGT)])[0][:-1]
        state, rows = bundle.model.start(torch.tensor([src])), []
        with torch.inference_mode():
            for token in [tokenizer.bos_id, *tgt[:-1]]:
                with trace(bundle.model, "decoder.*.cross_attn") as seen:
                    bundle.model.step(torch.tensor([token]), state)
                rows.append([seen[f"decoder.{place.layer}.cross_attn"][0, 0, 0] for place in where])
        for k, look in enumerate(found):
            assert len(look.src) == len(src) and len(look.tgt) == len(tgt)
            torch.testing.assert_close(
                torch.tensor(look.weights), torch.stack([row[k] for row in rows]), atol=1e-5, rtol=1e-5
            )
            seen_some += 1
    assert seen_some >= 3


def test_a_head_that_always_looks_at_the_same_word_tells_nothing() -> None:
    def of(weights: list[list[float]]) -> float:
        return told(Look(Place(0), ["a", "b"], ["c", "d"], weights))

    assert of([[1.0, 0.0], [1.0, 0.0]]) == pytest.approx(0.0)
    assert of([[0.5, 0.5], [0.5, 0.5]]) == pytest.approx(0.0)
    assert of([[1.0, 0.0], [0.0, 1.0]]) == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert of([]) == 0.0


def test_the_sharpest_place_tells_most(trained: list[Trained]) -> None:
    [bundle] = [bundle for name, bundle in trained if name.en == "Transformer"]
    best = sharpest(bundle, SRC, TGT, "")
    assert told(best) == max(told(look) for look in looks(bundle, SRC, TGT, "", places(bundle.model)))


def test_a_model_without_attention_has_no_alignment(trained: list[Trained], gold: Path) -> None:
    [bundle] = [bundle for name, bundle in trained if name.en == "GRU"]
    assert not has_attention(bundle)
    with pytest.raises(ValueError, match="no attention"):
        sharpest(bundle, SRC, TGT, "")
    with pytest.raises(ValueError, match="no attention"):
        score_places(bundle, read_gold_pairs(gold, 1, chosen_on=1), "")


def test_the_place_is_chosen_on_the_first_pairs_and_scored_on_the_others(trained: list[Trained], gold: Path) -> None:
    data = read_gold_pairs(gold, 1, chosen_on=2)
    for _, bundle in trained:
        if not has_attention(bundle):
            continue
        found = score_places(bundle, data, "")
        assert found.scores.n == 1
        where = places(bundle.model)
        rates = [
            alignment_error_rate(each, data.gold[:2]).error_rate
            for each in align(bundle.model, bundle.tokenizer, data.pairs[:2], "", where)
        ]
        assert rates[where.index(found.place)] == min(rates)


def test_the_diagonal_links_words_at_the_same_share_of_the_sentence(gold: Path) -> None:
    scores = diagonal(read_gold_pairs(gold, 1, chosen_on=1))
    assert scores.error_rate == 0.0 and scores.n == 2


def test_the_section_shows_who_looks_and_says_who_does_not(trained: list[Trained], gold: Path) -> None:
    pair = " ".join(SRC), " ".join(TGT)
    for data, scored in ((None, 0), (read_gold_pairs(gold, 1, chosen_on=2), 1)):
        section = alignment_section(trained, pair, "en", data)
        pictures = [part for part in section.parts if isinstance(part, HeatMap)]
        blind = [name for name, bundle in trained if not has_attention(bundle)]
        assert len(pictures) == len(trained) - len(blind) and len(section.text) == 1 + len(blind)
        for picture, row in itertools.product(pictures, range(2)):
            assert sum(picture.values[row]) == pytest.approx(1.0, abs=1e-4)
        assert len([part for part in section.parts if isinstance(part, Table)]) == scored


@pytest.fixture
def short(tokenizer: Tokenizer) -> Bundle:
    """A model that takes 7 tokens."""
    given = {"d_model": 16, "n_heads": 2, "d_ff": 16, "n_encoder_layers": 1, "n_decoder_layers": 1}
    config = TransformerConfig.model_validate({**given, "position": "learned", "max_len": 7})
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    return Bundle(BundleConfig.model_validate({"model": config}), model, tokenizer, "")


def test_what_a_model_does_not_take_whole_is_cut_and_left_out_of_the_gold_pairs(
    trained: list[Trained], tokenizer: Tokenizer, short: Bundle
) -> None:
    long, fine = (["tom", "hit", "jerry", "."] * 2, ["jerry"]), (["tom"], ["jerry"])
    assert len(tokenizer.encode_src(["tom"])[0]) < 7 and fits(short, fine, "")
    assert not fits(short, long, "") and not fits(short, (long[1], long[0]), "") and fits(trained[-1][1], long, "")
    data = GoldPairs([long, fine, fine, long, fine], [Gold(frozenset(), frozenset())] * 5, chosen_on=2)
    assert fitting(data, [trained[-1][1], short], "en") == GoldPairs([fine] * 3, data.gold[:3], chosen_on=1)
    named = [trained[-1], (Said("Short", "短"), short)]
    section = alignment_section(named, (" ".join(long[0]), " ".join(long[0])), "en", data)
    [whole, cut] = [part for part in section.parts if isinstance(part, HeatMap)]
    assert len(cut.rows) == 6 < len(whole.rows) and len(cut.columns) == 7 < len(whole.columns)
    assert [text.en for text in section.text[1:]] == [
        "2 of 5 gold pairs have more tokens than one of the models takes (max_len). They are left out for all.",
        "Short takes 7 tokens at most (max_len), and the sentence is cut for it.",
    ]
    [table] = [part for part in section.parts if isinstance(part, Table)]
    assert "2 gold pairs (the place was chosen on 1 others)" in table.title.en


def test_without_a_gold_pair_that_all_take_there_are_no_error_rates(short: Bundle) -> None:
    long = (["tom", "hit", "jerry", "."] * 2, ["jerry"])
    data = GoldPairs([long] * 3, [Gold(frozenset(), frozenset())] * 3, chosen_on=2)
    section = alignment_section([(Said("Short", "短"), short)], ("tom", "jerry"), "en", data)
    assert [type(part) for part in section.parts] == [HeatMap]
    assert "3 of 3 gold pairs" in section.text[1].en and "rows tell most" in section.text[0].en
