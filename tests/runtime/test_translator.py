"""The built-in model, and what every translator does."""

import re
from pathlib import Path

import pytest

from sightline.errors import ConfigError
from sightline.runtime.translator import BUILTIN, Translator, load
from sightline.training.recipe import prepare_run, read_recipe


@pytest.fixture(scope="module")
def builtin() -> Translator:
    return load()


def test_the_built_in_model_is_small() -> None:
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) <= 15.5e6


def test_i_love_you(builtin: Translator) -> None:
    assert builtin("I love you.", to="zh") in ("我爱你。", "我爱您。")


def test_the_script_of_a_text_tells_its_direction(builtin: Translator) -> None:
    assert builtin.languages == ("zh", "en")
    assert re.search("[\u4e00-\u9fff]", builtin("Thank you."))
    assert re.fullmatch(r"[ -~]+", builtin("谢谢你。"))


def test_a_list_gives_a_list_and_a_beam_gives_scores(builtin: Translator) -> None:
    one, two = builtin(["Good morning.", "How are you?"], to="zh")
    assert [builtin("Good morning.", to="zh"), builtin("How are you?", to="zh")] == [one, two]
    best, *others = builtin.beam("Good morning.", width=3, to="zh")
    assert best.text and len(others) == 2 and best.score >= others[0].score


def test_a_stream_keeps_the_order_in_any_window(builtin: Translator) -> None:
    texts = ["Yes.", "No.", "", "I am tired.", "Who is he?"]
    whole = [found[0].text for found in builtin.translate(texts, "zh")]
    assert [found[0].text for found in builtin.stream(iter(texts), "zh", window=2)] == whole


def test_an_unknown_language_or_setting_is_named(builtin: Translator) -> None:
    with pytest.raises(ConfigError, match=r"does not translate to 'zhh'.*Did you mean 'zh'"):
        builtin("Yes.", to="zhh")
    with pytest.raises(ConfigError, match="beem"):
        builtin("Yes.", beem=3)


def test_its_test_groups_are_those_frozen_in_its_card(tmp_path: Path) -> None:
    """The split is a function of the sentences and the seed; the card holds the hash of the set it was scored on."""
    prepared = prepare_run(read_recipe("tatoeba-en-zh", ["tokenizer.dropout=0.1"]), tmp_path)  # which keeps the text
    card = (BUILTIN / "card.md").read_text(encoding="utf-8")
    assert prepared.hashes["test.jsonl as used"] in card and prepared.hashes["valid.jsonl as used"] in card
    held = {text for e in prepared.evaluation("test") for text in (e.src, *e.refs)}
    pairs = prepared.train()
    trained = {pairs.text(i)[side] for i in range(0, len(pairs), 7) for side in (0, 1)}
    assert not held & trained
