"""The built-in model, and what every translator does."""

import re
from pathlib import Path

import pytest

from sightline.data.sources import BUNDLED, CorpusSettings, read_pairs
from sightline.errors import ConfigError
from sightline.files import sha256
from sightline.runtime.translator import BUILTIN, Translator, load
from sightline.training.recipe import prepare_run, read_recipe


@pytest.fixture(scope="module")
def builtin() -> Translator:
    return load()


def test_the_built_in_model_is_small() -> None:
    assert sum(path.stat().st_size for path in BUILTIN.iterdir()) <= 25e6


def test_i_love_you(builtin: Translator) -> None:
    assert builtin("I love you.", to="zh") in ("我爱你。", "我爱您。")


def test_the_script_of_a_text_tells_its_direction(builtin: Translator) -> None:
    assert builtin.languages == ("zh", "en", "de", "fr")
    assert re.search("[\u4e00-\u9fff]", builtin("Thank you."))
    assert re.fullmatch(r"[ -~]+", builtin("谢谢你。"))


LOVE = {"en": "I love you.", "de": "Ich liebe dich.", "fr": "Je t'aime.", "zh": "我爱你。"}


@pytest.mark.parametrize("to", LOVE)
def test_i_love_you_in_any_direction(builtin: Translator, to: str) -> None:
    for src, text in LOVE.items():
        if src != to:
            assert builtin(text, to=to) in (LOVE[to], "我喜欢你。"), src


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


def test_its_test_groups_are_those_frozen_in_its_card() -> None:
    """The card holds the hash of every file that it was trained, validated and scored on."""
    card = (BUILTIN / "card.md").read_text(encoding="utf-8")
    for pair in ("en-zh", "en-de", "en-fr"):
        for split in ("valid", "test"):
            name = f"tatoeba-{pair}.{split}.tsv.gz"
            assert f"| {name} | {sha256(BUNDLED / name)} |" in card


def test_the_frozen_test_groups_are_those_that_the_pair_alone_holds_out(tmp_path: Path) -> None:
    prepared = prepare_run(read_recipe("tatoeba-en-zh", ["tokenizer.dropout=0.1"]), tmp_path)  # which keeps the text
    frozen = read_pairs(CorpusSettings(pairs="bundled:tatoeba-en-zh.test.tsv.gz"), tmp_path)
    held = {(e.src, ref) for e in prepared.evaluation("test") if e.to == "zh" for ref in e.refs}
    assert {(row.src, row.tgt) for row in frozen} == held
    pairs = prepared.train()
    trained = {pairs.text(i)[side] for i in range(0, len(pairs), 7) for side in (0, 1)}
    assert not {text for pair in held for text in pair} & trained
