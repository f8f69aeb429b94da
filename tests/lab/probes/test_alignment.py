"""Which words a system looks at."""

import itertools
from pathlib import Path

import pytest
import torch

from sightline.data.tokenizers import Tokenizer
from sightline.errors import DataError
from sightline.inspection.alignment import Place, align, places
from sightline.inspection.trace import trace
from sightline.lab.parts import HeatMap, Table
from sightline.lab.probes.alignment import (
    Look,
    alignment_section,
    diagonal,
    has_attention,
    looks,
    read_gold,
    score_places,
    sharpest,
    told,
)
from sightline.lab.probes.fresh import Trained
from sightline.metrics.alignment import alignment_error_rate

SRC, TGT = ["a", "dog", "saw", "tom", "."], ["the", "snow", "saw", "a", "dog"]


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    (tmp_path / "a.src-tgt").write_text("tom saw jerry ||| jerry saw tom\na dog ||| the snow\ntom ||| tom\n")
    (tmp_path / "a.gold").write_text("1-3 2-2 3p1\n1-1 2-2\n1-1\n")
    return tmp_path / "a.gold"


def test_gold_links_are_counted_from_nought_and_stand_beside_their_words(gold: Path) -> None:
    data = read_gold(gold, 1, chosen_on=2)
    assert data.pairs[0] == (["tom", "saw", "jerry"], ["jerry", "saw", "tom"])
    assert data.gold[0].sure == {(0, 2), (1, 1)} and data.gold[0].possible == {(0, 2), (1, 1), (2, 0)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gold", "1-1\n0-1\n1-1\n", "line 2"),
        ("a.gold", "1-1\n", "1 lines and .* has 3"),
        ("a.src-tgt", "tom tom\n", r'line 1 has no "\|\|\|"'),
        ("a.gold", "1-1\n1-1\n1-1\n", "a.gold has 3 pairs, and on the first 3"),
    ],
)
def test_gold_that_cannot_be_used_is_named(gold: Path, name: str, text: str, message: str) -> None:
    (gold.parent / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_gold(gold, 1, chosen_on=3)


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
        score_places(bundle, read_gold(gold, 1, chosen_on=1), "")


def test_the_place_is_chosen_on_the_first_pairs_and_scored_on_the_others(trained: list[Trained], gold: Path) -> None:
    data = read_gold(gold, 1, chosen_on=2)
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
    scores = diagonal(read_gold(gold, 1, chosen_on=1))
    assert scores.error_rate == 0.0 and scores.n == 2


def test_the_section_shows_who_looks_and_says_who_does_not(trained: list[Trained], gold: Path) -> None:
    pair = " ".join(SRC), " ".join(TGT)
    for data, scored in ((None, 0), (read_gold(gold, 1, chosen_on=2), 1)):
        section = alignment_section(trained, pair, "en", data)
        pictures = [part for part in section.parts if isinstance(part, HeatMap)]
        blind = [name for name, bundle in trained if not has_attention(bundle)]
        assert len(pictures) == len(trained) - len(blind) and len(section.text) == 1 + len(blind)
        for picture, row in itertools.product(pictures, range(2)):
            assert sum(picture.values[row]) == pytest.approx(1.0, abs=1e-4)
        assert len([part for part in section.parts if isinstance(part, Table)]) == scored
