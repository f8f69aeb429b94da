from pathlib import Path

import pytest

from sightline.data.sources import CorpusSettings
from sightline.errors import ConfigError
from sightline.models.config import TransformerConfig
from sightline.training import derive as derivation
from sightline.training.derive import Measured, Reason, derive, measure
from sightline.training.recipe import Recipe

CORPUS = CorpusSettings(pairs="pairs.tsv")


@pytest.mark.parametrize("lang", ["zh", ""])
def test_words_are_counted_by_characters_where_no_blanks_are_written(lang: str, tmp_path: Path) -> None:
    target = "一只狗现在就在这里。"
    lines = [f"The dog number {n} is here.\t{target}\n" for n in range(300)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    found = measure(CorpusSettings(pairs="pairs.tsv", tgt_lang=lang), tmp_path)
    assert found.words == pytest.approx(len(target) / 1.6)
    swapped = CorpusSettings(pairs="pairs.tsv", columns=(1, 0))
    assert measure(swapped, tmp_path).words == 6


def test_every_pair_counts_though_only_the_first_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derivation, "MEASURED", 100)
    lines = [f"word {n}\t{'Wort ' * (3 if n < 100 else 9)}{n}\n" for n in range(250)]
    (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
    assert measure(CorpusSettings(pairs="pairs.tsv"), tmp_path) == Measured(250, 4.0)


def test_more_text_gives_a_larger_model_and_vocabulary_and_less_dropout(tmp_path: Path) -> None:
    found = []
    for pairs in (200, 20_000):
        lines = [f"the dog {n} is here now\tder Hund {n} ist jetzt hier\n" for n in range(pairs)]
        (tmp_path / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
        corpus = CorpusSettings(pairs="pairs.tsv")
        recipe, reasons = derive(corpus, measure(corpus, tmp_path), "mine")
        assert any(f"{pairs:,} pairs" in reason.text for reason in reasons)
        found.append(recipe)
    small, large = found
    assert large.model.d_model > small.model.d_model
    assert large.tokenizer.vocab_size > small.tokenizer.vocab_size
    assert large.model.residual_dropout <= small.model.residual_dropout


def test_the_largest_corpora_ask_for_the_base_model_of_the_paper() -> None:
    recipe, reasons = derive(CORPUS, Measured(10_000_000, 20.0), "mine")
    model = recipe.model
    assert isinstance(model, TransformerConfig)
    assert (model.d_model, model.d_ff, model.n_encoder_layers, model.n_decoder_layers) == (512, 2048, 6, 6)
    assert recipe.train.max_steps * int(recipe.train.batch_tokens) > 1_000_000_000 and "8 epochs" in reasons[-1].text


@pytest.mark.parametrize(
    ("pairs", "rate", "width", "layers"),
    [
        (5_000, 100.0, 128, 3),  # there is no smaller one
        (40_000, 10_000.0, 256, 3),  # the one for such a corpus
        (40_000, 500.0, 128, 3),
        (1_000_000, 250.0, 128, 3),
        (1_000_000, 4_000.0, 256, 4),
        (1_000_000, 1e9, 512, 4),
    ],
)
def test_a_slow_machine_gets_a_model_it_can_teach(pairs: int, rate: float, width: int, layers: int) -> None:
    recipe, reasons = derive(CORPUS, Measured(pairs, 10.0), "mine", lambda _: rate)
    assert (recipe.model.d_model, recipe.model.n_encoder_layers) == (width, layers)
    suited = derive(CORPUS, Measured(pairs, 10.0), "mine")[0]
    assert recipe.model.residual_dropout == suited.model.residual_dropout  # that is the corpus's
    assert ("would see less than a word" in reasons[0].text) == (recipe.model != suited.model)


def test_a_model_that_memory_cannot_hold_is_passed_over() -> None:
    def rate(recipe: Recipe) -> float:
        if recipe.model.d_model > 128:
            raise ConfigError("no room")
        return 1e6

    recipe, reasons = derive(CORPUS, Measured(200_000, 10), "mine", rate)
    assert recipe.model.d_model == 128 and "needs more memory than is free" in reasons[0].text

    def never(recipe: Recipe) -> float:
        raise ConfigError("no room")

    with pytest.raises(ConfigError, match="no room"):
        derive(CORPUS, Measured(200_000, 10), "mine", never)


def test_each_size_is_timed_with_its_own_model() -> None:
    asked = []
    derive(CORPUS, Measured(1_000_000, 10.0), "mine", lambda recipe: asked.append(recipe.model.d_model) or 1.0)
    assert asked == [512, 256, 256, 128]


def test_steps_are_as_many_as_the_minutes_allow_or_the_corpus_wants() -> None:
    found = Measured(10_000, 8.0)
    wanted, said = derive(CORPUS, found, "mine")
    fast, _ = derive(CORPUS, found, "mine", lambda _: 1e9)
    assert fast.train.max_steps == wanted.train.max_steps and "60 epochs" in said[-1].text
    for minutes in (60.0, 10.0):
        slow, why = derive(CORPUS, found, "mine", lambda _: 500.0, minutes)
        assert 5 * slow.train.max_steps < wanted.train.max_steps
        tokens = slow.train.max_steps * int(slow.train.batch_tokens)
        assert 0.8 * 60 * minutes < tokens / 500 < 60 * minutes
        assert slow.train.warmup <= slow.train.max_steps // 4 and slow.train.validate_every < slow.train.max_steps
        assert f"about {minutes:.0f} minutes here" in why[-1].text and "would be better" in why[-1].text


def test_the_minutes_that_are_told_are_those_of_the_steps_there_are() -> None:
    recipe, reasons = derive(CORPUS, Measured(10_000, 8.0), "mine", lambda _: 1.0)
    minutes = recipe.train.max_steps * int(recipe.train.batch_tokens) / (1.0 * 0.9) / 60
    assert minutes > 100 and f"about {minutes:.0f} minutes here" in reasons[-1].text


def test_a_reason_says_what_overrules_it() -> None:
    reason = Reason(("model.", "train.lr"), "a tiny model")
    assert reason.said() == reason.said(["data.path=there"]) == "a tiny model (model.*, train.lr)"
    assert reason.said(["model.d_model=64", "train.seed=2"]).endswith("; you gave model.d_model=64")
