import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from sightline.data.lines import sample_lines
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import BundleError, ConfigError, DataError

ENGLISH = [
    "A dog runs through the snow.",
    "Two men aren't running; they're talking (loudly) at 10:45!",
    "I don't know what the dog wants...",
    "The snow is deep, and the dog is small.",
    "Running dogs run, and talking men talk.",
] * 4
CHINESE = [
    "一只狗在雪地里跑。",
    "我不知道狗想要什么，你知道吗？",
    "雪很深，狗很小！",
    "“你好”，他说：“我有10只狗。”",
    "两个男人在说话……",
] * 4
KINDS = ["bpe", "unigram", "word", "char", "byte"]


def trained(tags=("zh", "en"), **settings) -> Tokenizer:
    return Tokenizer.train(TokenizerSettings(**{"vocab_size": 400, **settings}), ENGLISH, CHINESE, tags)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_gives_back_the_text_with_its_blanks(kind, joint):
    tokenizer = trained(kind=kind, joint=joint)
    for text, ids in zip(ENGLISH, tokenizer.encode_src(ENGLISH, "zh"), strict=True):
        assert tokenizer.decode_src(ids) == text
    for text, ids in zip(CHINESE, tokenizer.encode_tgt(CHINESE), strict=True):
        assert tokenizer.decode_tgt(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_tag_pieces_end_and_the_sizes_bound_them(kind):
    tokenizer = trained(kind=kind)
    source, target = tokenizer.encode_src(["A dog.", "A dog."], ["zh", ""]), tokenizer.encode_tgt(["狗。"])[0]
    assert source[0] == [4, *source[1]] and tokenizer.tag_id("zh") == 4 and tokenizer.tag_id("en") == 5
    assert source[0][-1] == target[-1] == tokenizer.eos_id == 2
    assert all(6 <= i < tokenizer.src_vocab_size for i in source[1][:-1])
    assert tokenizer.names_tgt()[:6] == ["<pad>", "<s>", "</s>", "<unk>", "<2zh>", "<2en>"]
    assert len(tokenizer.names_tgt()) == tokenizer.tgt_vocab_size


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_a_special_token_is_text(kind):
    lines = ["<s> <2zh> </s> <pad> <unk> dog"] * 50
    tokenizer = Tokenizer.train(TokenizerSettings(kind=kind, vocab_size=300), lines, lines, ("zh",))
    ids = tokenizer.encode_tgt(lines[:1])[0]
    assert not set(ids[:-1]) & {0, 1, 2, 3, 4}
    assert tokenizer.decode_tgt(ids) == lines[0]
    tokens = Tokenizer.train(TokenizerSettings(kind=kind, vocab_size=300, pretokenized=True), lines, lines, ("zh",))
    assert not set(tokens.encode_tgt(lines[:1])[0][:-1]) & {0, 1, 2, 3, 4}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_survives_the_file(kind, tmp_path):
    tokenizer = trained(kind=kind, joint=kind != "bpe", lowercase=True)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    assert again.settings == tokenizer.settings and again.tags == tokenizer.tags
    assert again.to_json() == tokenizer.to_json()
    assert again.encode_src(ENGLISH, "zh") == tokenizer.encode_src(ENGLISH, "zh")
    assert again.encode_tgt(CHINESE) == tokenizer.encode_tgt(CHINESE)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "word"])
def test_another_process_and_another_order_train_the_same_tokenizer(kind):
    program = (
        f"import test_tokenizers as t; t.ENGLISH.reverse(); print(t.trained(kind={kind!r}, vocab_size=150).to_json())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    out = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert out.stdout.decode().strip() == trained(kind=kind, vocab_size=150).to_json()


def test_subwords_never_cross_words_marks_digits_or_scripts():
    lines = ["dogs, 1234 dogs我们去北京你好สวัสดี"] * 100
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=400), lines, lines)
    assert tokenizer.pieces_src(lines[0]) == ["▁dogs", ",", "▁1", "2", "3", "4", "▁dogs", "我们去北京你好", "สวัสดี"]
    assert tokenizer.decode_src(tokenizer.encode_src(lines[:1])[0]) == lines[0]


def test_pretokenized_text_keeps_its_tokens_and_is_joined_by_blanks():
    lines = ["a man &apos;s dog @-@ like , 我们 去 ...", "， 我们 a"] * 50
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=400, pretokenized=True), lines, lines)
    assert "▁&apos;s" in tokenizer.pieces_src(lines[0]) and "▁我们" in tokenizer.pieces_src(lines[0])
    assert [tokenizer.decode_src(ids) for ids in tokenizer.encode_src(lines[:2])] == lines[:2]


def test_nfkc_keeps_chinese_punctuation_but_not_wide_letters():
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char"), ["ＡＢ１，。！？：；（）《》…"] * 2, ["x"])
    assert tokenizer.decode_src(tokenizer.encode_src(["ＡＢ１，。！？：；（）《》…"])[0]) == "AB1，。！？：；（）《》…"


def test_whitespace_is_one_blank_and_the_blank_mark_in_text_is_no_blank():
    tokenizer = trained(kind="byte")
    assert tokenizer.decode_src(tokenizer.encode_src(["  a\u3000b\t\u2028 c▁d\u00a0"])[0]) == "a b c_d"


def test_an_unknown_character_is_shown_as_such():
    tokenizer = trained()
    assert tokenizer.decode_src(tokenizer.encode_src(["A dog ЖЖ runs."])[0]) == "A dog ⁇ runs."
    words = trained(kind="word")
    assert words.decode_src(words.encode_src(["A elephant elephant runs through."])[0]) == "A ⁇ ⁇ runs through."


def test_dropout_nought_is_the_encoding_of_the_library():
    tokenizer = trained(dropout=0.1)
    for text in [*ENGLISH, *CHINESE, "ЖЖ dog Ж", ""]:
        assert tokenizer._src.sample(text, 0.0, random.Random(1)) == tokenizer.encode_src([text])[0][:-1]


def test_dropout_is_a_function_of_its_generator_and_keeps_the_text():
    tokenizer = trained(dropout=0.3)
    first, again, other = (
        [tokenizer.sample_src(text, "zh", generator) for text in ENGLISH]
        for generator in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert first == again != other
    assert [tokenizer.decode_src(ids) for ids in first] == ENGLISH
    assert all(ids[0] == tokenizer.tag_id("zh") and ids[-1] == tokenizer.eos_id for ids in first)
    assert [tokenizer.decode_tgt(tokenizer.sample_tgt(text, random.Random(3))) for text in CHINESE] == CHINESE


def test_each_merge_is_dropped_with_the_probability_asked_for():
    lines = ["ab"] * 50
    tokenizer = Tokenizer.train(TokenizerSettings(vocab_size=40, dropout=0.25, pretokenized=True), lines, lines)
    assert len(tokenizer.encode_src(["ab"])[0]) == 2  # ▁ab </s>: two merges
    generator, counts = random.Random(0), [0, 0, 0]
    for _ in range(4000):
        counts[len(tokenizer.sample_src("ab", None, generator)) - 2] += 1
    expected = [0.75 * 0.75, 0.75 * 0.25, 0.25]  # both merges, the first only, none
    assert [count / 4000 for count in counts] == pytest.approx(expected, abs=0.03)


def test_sampling_lines_is_even_keeps_the_order_and_bounds_the_number():
    assert sample_lines((str(i) for i in range(5)), 10) == ["0", "1", "2", "3", "4"]
    kept = [int(line) for line in sample_lines((str(i) for i in range(10_000)), 1000)]
    assert len(kept) == 1000 and kept == sorted(kept)
    assert sum(kept) / 1000 == pytest.approx(5000, abs=300)


def test_what_cannot_be_is_said():
    with pytest.raises(ValidationError, match="kind = 'bpe' only"):
        TokenizerSettings(kind="char", dropout=0.1)
    with pytest.raises(ValidationError, match="below 1"):
        TokenizerSettings(dropout=1.0)
    with pytest.raises(ConfigError, match="vocab_size = 6 leaves no room"):
        trained(vocab_size=6)
    with pytest.raises(DataError, match="no text"):
        Tokenizer.train(TokenizerSettings(), ["", " "], [])
    with pytest.raises(DataError, match=r"no target language 'fr'.*zh, en"):
        trained().encode_src(["A dog."], "fr")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(BundleError, match=r"tokenizer\.json is missing"):
        Tokenizer.load(path)
    whole = trained().to_json()
    for text in ["", "{}", "[1]", whole[: len(whole) // 2], whole.replace('"BPE"', '"XYZ"')]:
        path.write_text(text)
        with pytest.raises(BundleError, match=r"tokenizer\.json is damaged"):
            Tokenizer.load(path)
    path.write_text(whole.replace('"version": 1', '"version": 2', 1))
    with pytest.raises(BundleError, match="update sightline"):
        Tokenizer.load(path)
