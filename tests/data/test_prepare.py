import gzip
import json
import os
import random

import pytest
from pydantic import ValidationError

from sightline.data.prepare import prepare
from sightline.data.prepared import Prepared
from sightline.data.report import Report
from sightline.data.settings import DataSettings
from sightline.data.survey import sentence_key
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import ConfigError, DataError, UserError

ANIMALS = {"dog": "狗", "cat": "猫", "horse": "马", "bird": "鸟", "fish": "鱼", "mouse": "鼠", "pig": "猪", "cow": "牛"}
ACTS = {"runs": "跑", "sleeps": "睡", "eats": "吃", "drinks": "喝", "falls": "倒", "sings": "唱", "sees us": "看我们"}
PLACES = {
    "in the snow": "在雪里",
    "at home": "在家里",
    "on the road": "在路上",
    "by the river": "在河边",
    "here": "在这里",
}
WORDS = TokenizerSettings(vocab_size=400)


def sentences() -> list[tuple[str, str]]:
    found = [
        (f"The {a} {v} {p} with {n} friends.", f"那只{za}和{n}个朋友{zp}{zv}。")
        for a, za in ANIMALS.items()
        for v, zv in ACTS.items()
        for p, zp in PLACES.items()
        for n in range(2, 5)
    ]
    random.Random(1).shuffle(found)
    return found


def write_tsv(path, pairs) -> None:
    path.write_bytes("".join(f"{src}\t{tgt}\n" for src, tgt in pairs).encode())


def prepared(folder, pairs=None, tokenizer: TokenizerSettings | Tokenizer = WORDS, **settings) -> Prepared:
    if pairs is not None:
        write_tsv(folder / "train.tsv", pairs)
    settings = {"train": {"pairs": "train.tsv", "src_lang": "en", "tgt_lang": "zh"}, **settings}
    return prepare(DataSettings(**settings), tokenizer, folder / "out", folder)


def texts(found: Prepared) -> list[tuple[str, str]]:
    pairs, tokenizer = found.train(), found.tokenizer
    return [(tokenizer.decode_src(pairs.pair(i)[0]), tokenizer.decode_tgt(pairs.pair(i)[1])) for i in range(len(pairs))]


def test_a_test_sentence_is_not_trained_on_the_other_way_round_either(tmp_path):
    rows = sentences()[:120]
    write_tsv(tmp_path / "one.tsv", rows[:60])
    write_tsv(tmp_path / "two.tsv", [(zh, en) for en, zh in rows[40:]])
    write_tsv(tmp_path / "test.tsv", rows[50:55])
    corpora = [
        {"pairs": "one.tsv", "src_lang": "en", "tgt_lang": "zh"},
        {"pairs": "two.tsv", "src_lang": "zh", "tgt_lang": "en"},
    ]
    more = {"tag_target": True, "hold_out_valid": 10, "test": {"pairs": "test.tsv"}}
    found = prepared(tmp_path, train=corpora, **more)
    trained = {sentence_key(text) for pair in texts(found) for text in pair}
    for name in ("valid", "test"):
        for example in found.evaluation(name):
            assert sentence_key(example.src) not in trained
            assert not trained & {sentence_key(ref) for ref in example.refs}


def test_a_first_line_that_looks_like_a_header_is_mentioned_and_can_be_named(tmp_path):
    rows = [("en", "zh"), *sentences()[:60]]
    assert any(
        "train.tsv:1 reads 'en | zh', as a header does" in text for text in prepared(tmp_path, rows).report.warnings
    )
    unnamed = prepared(tmp_path, train={"pairs": "train.tsv"}).report
    assert any('\'data.train.columns=["en", "zh"]\'' in text for text in unnamed.warnings)
    named = {"pairs": "train.tsv", "src_lang": "en", "tgt_lang": "zh", "columns": ("en", "zh")}
    report = prepared(tmp_path, train=named).report
    assert report.read == 60 and not any("header" in text for text in report.warnings)


def test_everything_arrives_tokenised_and_in_order(tmp_path):
    pairs = sentences()
    found = prepared(tmp_path, pairs, hold_out_valid=0, hold_out_test=0)
    assert texts(found) == pairs
    assert found.evaluation("valid") == found.evaluation("test") == []
    assert (found.src_lang, found.tgt_lang) == ("en", "zh")
    assert found.report.read == found.report.kept == len(pairs)
    assert set(found.hashes) == {"train.tsv"}


def test_held_out_sets_share_no_sentence_with_training_or_each_other(tmp_path):
    pairs = sentences() + [(src.upper().rstrip(".") + "!", tgt + "真的") for src, tgt in sentences()[:200]]
    found = prepared(tmp_path, pairs, hold_out_valid=50, hold_out_test=80)
    valid, test = found.evaluation("valid"), found.evaluation("test")
    assert len({sentence_key(e.src) for e in test}) == 80 and len({sentence_key(e.src) for e in valid}) == 50
    sides = [
        ({sentence_key(e.src) for e in part}, {sentence_key(ref) for e in part for ref in e.refs})
        for part in (valid, test)
    ] + [tuple({sentence_key(text) for text in side} for side in zip(*texts(found), strict=True))]
    for i in range(3):
        for other in sides[:i]:
            assert not sides[i][0] & other[0] and not sides[i][1] & other[1]
    assert found.report.held_out + found.report.kept == len(pairs)


def test_the_sets_held_out_do_not_depend_on_the_order_of_lines(tmp_path):
    pairs = sentences()
    first = prepared(tmp_path, pairs, hold_out_test=40).evaluation("test")
    assert prepared(tmp_path, pairs[::-1], hold_out_test=40).evaluation("test") == first
    assert prepared(tmp_path, pairs, hold_out_test=40, split_seed=2).evaluation("test") != first


def test_each_line_of_a_given_set_is_scored_for_itself_in_each_direction(tmp_path):
    write_tsv(tmp_path / "test.tsv", [("A dog.", "一只狗。"), ("A  dog.", "一条狗。"), ("A cat.", "一只猫。")])
    found = prepared(tmp_path, sentences(), test={"pairs": "test.tsv"}, both_directions=True)
    assert [(e.src, e.refs, e.to) for e in found.evaluation("test")] == [
        ("A dog.", ("一只狗。",), "zh"),
        ("一只狗。", ("A dog.",), "en"),
        ("A dog.", ("一条狗。",), "zh"),
        ("一条狗。", ("A dog.",), "en"),
        ("A cat.", ("一只猫。",), "zh"),
        ("一只猫。", ("A cat.",), "en"),
    ]


def test_several_test_sets_and_their_references_are_put_together_on_request(tmp_path):
    write_tsv(tmp_path / "zh.tsv", [("A dog.", "一只狗。"), ("A  dog.", "一条狗。"), ("The dog.", "一只狗。")])
    write_tsv(tmp_path / "de.tsv", [("A dog.", "Ein Hund.")])
    sets = [{"pairs": f"{to}.tsv", "src_lang": "en", "tgt_lang": to} for to in ("zh", "de")]
    corpora = [{"pairs": "train.tsv", "src_lang": "en", "tgt_lang": to} for to in ("zh", "de")]
    more = {"test": sets, "both_directions": True, "merge_references": True}
    found = prepared(tmp_path, sentences(), train=corpora, **more)
    assert [(e.src, e.refs, e.direction) for e in found.evaluation("test")] == [
        ("A dog.", ("一只狗。", "一条狗。"), "en-zh"),
        ("一只狗。", ("A dog.", "The dog."), "zh-en"),
        ("一条狗。", ("A dog.",), "zh-en"),
        ("The dog.", ("一只狗。",), "en-zh"),
        ("A dog.", ("Ein Hund.",), "en-de"),
        ("Ein Hund.", ("A dog.",), "de-en"),
    ]
    assert found.report.sets["test"].origin == "zh.tsv, de.tsv"


def test_with_several_languages_all_that_is_connected_to_a_test_sentence_is_left_out(tmp_path):
    rows = sentences()
    write_tsv(tmp_path / "zh.tsv", [*rows, ("I am tired.", "累了。"), ("Tired, I am.", "我累。")])
    write_tsv(tmp_path / "de.tsv", [("I am tired.", "Ich bin müde."), ("I'm tired.", "Ich bin müde.")])
    write_tsv(tmp_path / "test.tsv", [("I'm tired.", "我很累。")])
    corpora = [{"pairs": f"{to}.tsv", "src_lang": "en", "tgt_lang": to} for to in ("zh", "de")]
    held = {"hold_out_valid": 0, "tag_target": True, "test": {"pairs": "test.tsv"}}
    found = prepared(tmp_path, train=corpora, **held)
    assert not {"I am tired.", "I'm tired."} & {src for src, _ in texts(found)}
    assert found.report.kept == len(rows) + 1 and found.report.sets["test"].inside_training == 3


def test_of_a_large_group_only_the_sentences_of_the_test_itself_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("sightline.data.survey.LARGEST_GROUP", 2)
    write_tsv(tmp_path / "zh.tsv", [*sentences(), ("I am tired.", "累了。")])
    write_tsv(tmp_path / "de.tsv", [("I am tired.", "Ich bin müde."), ("I'm tired.", "Ich bin müde.")])
    write_tsv(tmp_path / "test.tsv", [("I'm tired.", "我很累。")])
    corpora = [{"pairs": f"{to}.tsv", "src_lang": "en", "tgt_lang": to} for to in ("zh", "de")]
    found = prepared(tmp_path, train=corpora, hold_out_valid=0, tag_target=True, test={"pairs": "test.tsv"})
    assert found.report.sets["test"].inside_training == 1 and found.report.kept == len(sentences()) + 2


def test_a_held_out_source_is_one_example_with_all_its_references(tmp_path):
    pairs = [(src, tgt + end) for src, tgt in sentences() for end in ("", "真的。")]
    found = prepared(tmp_path, pairs, hold_out_test=40, both_directions=True).evaluation("test")
    assert [len(e.refs) for e in found] == [2 if e.to == "zh" else 1 for e in found]
    assert len(found) == 3 * 40 and len({(e.src, e.to) for e in found}) == 3 * 40


def test_both_directions_train_with_the_tag_of_their_target(tmp_path):
    pairs = sentences()
    found = prepared(tmp_path, pairs, both_directions=True, hold_out_test=0, hold_out_valid=0)
    assert found.tokenizer.tags == ("zh", "en")
    assert sorted(texts(found)) == sorted(pairs + [(tgt, src) for src, tgt in pairs])
    for i in range(0, 1680, 100):
        src, _ = found.train().pair(i)
        assert src[0] == found.tokenizer.tag_id("zh" if found.tokenizer.decode_src(src).isascii() else "en")
    one = prepared(tmp_path, tag_target=True, hold_out_test=0, hold_out_valid=0)
    assert one.tokenizer.tags == ("zh",) and {int(one.train().pair(i)[0][0]) for i in range(9)} == {4}


def test_what_is_dropped_is_counted_by_reason_with_its_place(tmp_path):
    pairs = sentences()
    bad = [("", "空"), ("A dog.", " "), pairs[0], ("same", "same"), ("word " * 300, "字"), ("of many words " * 6, "短")]
    write_tsv(tmp_path / "test.tsv", [pairs[5]])
    write_tsv(tmp_path / "valid.tsv", [("The Ж.", pairs[6][1].rstrip("。"))])
    found = prepared(
        tmp_path,
        pairs + bad,
        drop_copies=True,
        test={"pairs": "test.tsv"},
        valid={"pairs": "valid.tsv"},
        max_ratio=5.0,
    )
    dropped = found.report.dropped
    assert {reason: part.count for reason, part in dropped.items()} == {
        "one side is empty": 2,
        "the same pair again": 1,
        "both sides are the same": 1,
        "more tokens than max_len": 1,
        "lengths too different (max_ratio)": 1,
        "a sentence of the validation set": 1,
        "a sentence of the test set": 1,
    }
    assert dropped["the same pair again"].examples[0].startswith(f"train.tsv:{len(pairs) + 3} {pairs[0][0]}")
    assert found.report.kept == len(pairs) - 2 == len(found.train())
    assert found.report.sets["valid"].unknown_examples == ("Ж",)
    assert any("left out of training: for example train.tsv:6 " in warning for warning in found.report.warnings)


def test_several_corpora_keep_their_numbers(tmp_path):
    pairs = sentences()
    write_tsv(tmp_path / "a.tsv", pairs[:300])
    write_tsv(tmp_path / "b.tsv", pairs[200:])
    found = prepared(tmp_path, train=[{"pairs": "a.tsv"}, {"pairs": "b.tsv", "weight": 2.0}], hold_out_test=0)
    assert found.report.corpora == {"a.tsv": 300, "b.tsv": len(pairs) - 200}
    assert found.report.dropped["the same pair again"].count == 100
    assert (found.train().corpus[:290] == 0).all() and (found.train().corpus[300:] == 1).all()


def test_text_is_kept_for_sampling_when_the_tokenizer_drops_merges(tmp_path):
    pairs = sentences()
    settings = TokenizerSettings(vocab_size=400, dropout=0.1)
    found = prepared(tmp_path, pairs, settings, hold_out_test=0, hold_out_valid=0, tag_target=True)
    assert found.train().text(7) == (*pairs[7], "zh")


def test_a_second_call_with_the_same_input_reuses_the_folder(tmp_path):
    found = prepared(tmp_path, sentences())
    before = (found.folder / "meta.json").stat().st_mtime_ns
    again = prepared(tmp_path)
    assert (again.folder / "meta.json").stat().st_mtime_ns == before
    assert again.report == found.report and again.evaluation("test") == found.evaluation("test")
    assert prepared(tmp_path, hold_out_test=33).report != found.report
    write_tsv(tmp_path / "train.tsv", sentences()[:500])
    os.utime(tmp_path / "train.tsv", ns=(1, 1))
    assert prepared(tmp_path).report.read == 500


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        prepared(folder, sentences())
    for path in (first / "out").iterdir():
        if path.name not in ("meta.json", "report.json"):
            assert path.read_bytes() == (second / "out" / path.name).read_bytes(), path.name


def test_a_trained_tokenizer_is_used_as_it_is(tmp_path):
    pairs = sentences()
    given = Tokenizer.train(TokenizerSettings(kind="char"), *zip(*pairs, strict=True), tags=("zh",))
    assert prepared(tmp_path, pairs, given, tag_target=True).tokenizer.to_json() == given.to_json()
    with pytest.raises(DataError, match="no target language 'en'"):
        prepared(tmp_path, pairs, given, both_directions=True)


def test_a_bounded_sample_trains_the_tokenizer(tmp_path):
    found = prepared(tmp_path, sentences(), TokenizerSettings(vocab_size=300, sample_lines=100))
    assert found.tokenizer.src_vocab_size <= 300 and len(found.train()) > 700


def test_swapped_sides_are_refused(tmp_path):
    pairs = sentences()
    write_tsv(tmp_path / "test.tsv", [(tgt, src) for src, tgt in pairs[:30]])
    with pytest.raises(DataError, match=r"sides of test\.tsv are swapped.*Swap src and tgt"):
        prepared(tmp_path, pairs, test={"pairs": "test.tsv"})
    with pytest.raises(DataError, match=r"sides of train\.tsv are swapped: zh is said to be on one side"):
        prepared(tmp_path, train={"pairs": "train.tsv", "src_lang": "zh", "tgt_lang": "en"})
    write_tsv(tmp_path / "b.tsv", [(tgt, src) for src, tgt in pairs])
    with pytest.raises(DataError, match=r"sides of b\.tsv are swapped"):
        prepared(tmp_path, train=[{"pairs": "train.tsv"}, {"pairs": "b.tsv"}])


def test_lines_that_do_not_belong_together_and_copies_are_warned_of(tmp_path):
    generator = random.Random(1)
    lines = [" ".join(generator.choices("abcdefgh", k=generator.randrange(3, 20))) for _ in range(400)]
    found = prepared(
        tmp_path, list(zip(lines, random.Random(2).sample(lines, 400), strict=True)), train={"pairs": "train.tsv"}
    )
    assert any("hardly go together" in warning for warning in found.report.warnings)
    found = prepared(tmp_path, [(line, line) for line in lines], train={"pairs": "train.tsv"})
    assert any("both sides the same" in warning for warning in found.report.warnings)


@pytest.mark.parametrize(
    ("pairs", "settings", "words"),
    [
        ([("", ""), ("a", "")], {}, ["no pairs are left", "2: one side is empty", "train.tsv"]),
        ([("a b", "c d")] * 5, {"max_len": 2}, ["no pairs are left", "max_len = 2"]),
        (sentences()[:50], {"hold_out_test": 40}, ["more than half", "hold_out_test"]),
        (sentences()[:50], {"test": {"pairs": "empty.tsv"}}, ["empty.tsv holds no pair with text"]),
        (sentences()[:50], {"test": {"pairs": "missing.tsv"}}, ["missing.tsv does not exist"]),
    ],
)
def test_what_cannot_be_used_is_said_and_leaves_nothing_behind(tmp_path, pairs, settings, words):
    write_tsv(tmp_path / "empty.tsv", [("", "")])
    with pytest.raises(DataError) as caught:
        prepared(tmp_path, pairs, **settings)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.tsv", "train.tsv"]


def test_both_directions_need_one_vocabulary(tmp_path):
    with pytest.raises(ConfigError, match="joint = true"):
        prepared(tmp_path, sentences(), TokenizerSettings(joint=False), both_directions=True)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"train": []}, "names no corpus"),
        ({"test": {"pairs": "b"}, "hold_out_test": 5}, "either read or held out"),
        ({"train": {"pairs": "a"}, "both_directions": True}, "src_lang and tgt_lang"),
        ({"train": {"pairs": "a", "src_lang": "en", "tgt_lang": "en"}, "both_directions": True}, "two languages"),
        ({"hold_out_test": -1}, "negative"),
        ({"max_len": 1}, "at least 2"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, word):
    with pytest.raises(ValidationError, match=word):
        DataSettings(**{"train": {"pairs": "a"}, **settings})


def test_a_damaged_folder_is_said(tmp_path):
    found = prepared(tmp_path, sentences())
    (found.folder / "valid.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"valid\.jsonl is damaged"):
        found.evaluation("valid")
    (found.folder / "report.json").write_text("{}")
    with pytest.raises(DataError, match="Delete the folder"):
        Prepared.open(found.folder)
    (found.folder / "tokenizer.json").unlink()
    with pytest.raises(UserError):
        Prepared.open(found.folder)


def test_the_report_survives_its_file(tmp_path):
    write_tsv(tmp_path / "test.tsv", [("A dog Ж [bold]here.", "一只狗。")])
    found = prepared(tmp_path, [*sentences(), ("", "x")], test={"pairs": "test.tsv"})
    assert Report.from_json(found.report.to_json()) == found.report
    assert json.loads((found.folder / "report.json").read_text())["kept"] == found.report.kept


def test_progress_is_told_and_compressed_files_are_read(tmp_path):
    told = []
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress("".join(f"{s}\t{t}\n" for s, t in sentences()).encode()))
    settings = DataSettings(train=[{"pairs": "train.tsv.gz"}])  # pyright: ignore[reportArgumentType]
    prepare(settings, WORDS, tmp_path / "out", tmp_path, lambda *what: told.append(what))
    assert told == [
        ("reading", 840, None),
        ("learning the vocabulary", 840, 840),
        ("learning the vocabulary", 840, 840),
        ("tokenising", 840, 840),
    ]


def test_a_vocabulary_with_tags_asks_for_tags(tmp_path):
    tagged = prepared(tmp_path, sentences(), both_directions=True, hold_out_test=0).tokenizer
    with pytest.raises(ConfigError, match="tag_target"):
        prepared(tmp_path, tokenizer=tagged)


def test_a_test_set_alone_leaves_validation_sentences_to_be_set_aside(tmp_path):
    write_tsv(tmp_path / "test.tsv", [("A dog.", "一只狗。")])
    found = prepared(tmp_path, sentences(), test={"pairs": "test.tsv"})
    assert len(found.evaluation("test")) == 1 and len(found.evaluation("valid")) == len(sentences()) // 50


def test_duplicates_and_unknown_tokens_are_counted_also_when_they_stay(tmp_path):
    pairs = sentences()
    rare = [("The zebra runs here with 2 friends.", "那只斑马和2个朋友在这里跑。")]
    found = prepared(tmp_path, pairs + pairs[:7] + rare, drop_duplicates=False, hold_out_valid=0, hold_out_test=0)
    assert found.report.duplicates == 7 and found.report.kept == len(pairs) + 8
    assert found.report.unknown > 0
