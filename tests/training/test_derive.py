from pathlib import Path

import pytest

from sightline.data.sources import CorpusSettings
from sightline.training.derive import derive, measure


@pytest.mark.parametrize("lang", ["zh", ""])
def test_words_are_counted_by_characters_where_no_blanks_are_written(lang: str, tmp_path: Path) -> None:
    target = "一只狗现在就在这里。"
    lines = [f"The dog number {n} is here.\t{target}\n" for n in range(300)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    found = measure(CorpusSettings(pairs="pairs.tsv", tgt_lang=lang), tmp_path)
    assert found.words == pytest.approx(len(target) / 1.6)
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
