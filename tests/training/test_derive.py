from pathlib import Path

import pytest

from sightline.data.sources import CorpusSettings
from sightline.training.derive import Measured, derive, measure


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
        corpus = CorpusSettings(pairs="pairs.tsv")
        recipe, reasons = derive(corpus, measure(corpus, tmp_path), "mine")
        assert any(f"{pairs:,} pairs" in reason for reason in reasons)
        found.append(recipe)
    small, large = found
    assert large.model.d_model > small.model.d_model
    assert large.tokenizer.vocab_size > small.tokenizer.vocab_size
    assert large.model.residual_dropout <= small.model.residual_dropout


def test_steps_are_as_many_as_an_hour_allows_or_the_corpus_wants() -> None:
    corpus, found = CorpusSettings(pairs="pairs.tsv"), Measured(10_000, 8.0)
    (wanted, said), (slow, why), (fast, _) = (derive(corpus, found, "mine", rate) for rate in (None, 500.0, 1e9))
    assert fast.train.max_steps == wanted.train.max_steps > 5 * slow.train.max_steps
    tokens = slow.train.max_steps * slow.train.batch_tokens
    assert 0.8 * 3600 < tokens / 500 < 3600
    assert "60 minutes here" in why[-1] and "would be better" in why[-1] and "60 epochs" in said[-1]
