from pathlib import Path

import pytest

from sightline.data.sources import CorpusSettings
from sightline.training.derive import derive, measure


@pytest.mark.parametrize("lang", ["zh", ""])
def test_words_are_counted_by_characters_where_no_blanks_are_written(lang: str, tmp_path: Path) -> None:
    lines = [f"The dog number {n} is here.\t第{n:03}只狗现在就在这里。\n" for n in range(300)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    assert measure(CorpusSettings(pairs="pairs.tsv", tgt_lang=lang), tmp_path).words == pytest.approx(14 / 1.6)
    swapped = CorpusSettings(pairs="pairs.tsv", columns=(1, 0))
    assert measure(swapped, tmp_path).words == 6


def test_more_text_gives_a_larger_model_and_vocabulary_and_less_dropout(tmp_path: Path) -> None:
    found = []
    for pairs in (200, 20_000):
        lines = [f"the dog {n} is here now\tder Hund {n} ist jetzt hier\n" for n in range(pairs)]
        (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
        recipe, reasons = derive(CorpusSettings(pairs="pairs.tsv"), tmp_path, "mine")
        assert any(f"{pairs:,} pairs" in reason for reason in reasons)
        found.append(recipe)
    small, large = found
    assert large.model.d_model > small.model.d_model
    assert large.tokenizer.vocab_size > small.tokenizer.vocab_size
    assert large.model.residual_dropout <= small.model.residual_dropout
