import bz2
import gzip
import lzma
import os
import random
import sys

import pytest
import zstandard
from pydantic import ValidationError

from sightline.data.lines import open_lines
from sightline.data.sources import CorpusSettings, Row, read_pairs
from sightline.errors import DataError, UserError


def read(folder, **settings) -> list[Row]:
    return list(read_pairs(CorpusSettings(**settings), folder))


def message(folder, **settings) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(folder, **files) -> None:
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress, zstandard.compress])
def test_two_files_are_read_line_by_line_plain_or_compressed(tmp_path, pack):
    write(
        tmp_path,
        a_en=pack("A dog.\r\nTwo\u2028men.\n\n".encode()),
        a_de=pack("\ufeffEin Hund.\nZwei Männer.\nx".encode()),
    )
    assert read(tmp_path, src="a.en", tgt="a.de") == [
        Row("A dog.", "Ein Hund.", 1),
        Row("Two\u2028men.", "Zwei Männer.", 2),
        Row("", "x", 3),
    ]


def test_frames_of_zstandard_and_members_of_gzip_follow_one_another(tmp_path):
    for pack in (zstandard.compress, gzip.compress):
        write(tmp_path, a=pack(b"one\nt") + pack(b"wo\n" * 100_000))
        assert sum(1 for _ in open_lines(tmp_path / "a")) == 100_001


def test_tsv_and_csv_take_columns_by_number_or_name(tmp_path):
    write(tmp_path, a_tsv="Hi.\t嗨。\tCC-BY\nRun\t跑\n", b_tsv="id\ten\tzh\n1\tHi.\t嗨。\n")
    write(tmp_path, c_csv='en,zh\n"Hi, you","嗨\n""你"""\nRun,跑\n', d_csv="Hi;嗨\n")
    assert read(tmp_path, pairs="a.tsv") == [Row("Hi.", "嗨。", 1), Row("Run", "跑", 2)]
    assert read(tmp_path, pairs="b.tsv", columns=("zh", "en")) == [Row("嗨。", "Hi.", 2)]
    assert read(tmp_path, pairs="c.csv", columns=("en", "zh")) == [Row("Hi, you", '嗨\n"你"', 2), Row("Run", "跑", 4)]
    assert read(tmp_path, pairs="d.csv") == [Row("Hi", "嗨", 1)]


def test_jsonl_takes_fields_nested_fields_and_lists(tmp_path):
    write(tmp_path, a_jsonl='{"en": "Hi", "zh": "嗨"}\n\n', b_jsonl='{"translation": {"en": "Hi", "zh": "嗨"}}\n')
    write(tmp_path, c_jsonl='["Hi", "嗨"]\n')
    assert read(tmp_path, pairs="a.jsonl", columns=("en", "zh")) == [Row("Hi", "嗨", 1), Row("", "", 2)]
    assert read(tmp_path, pairs="b.jsonl", columns=("translation.en", "translation.zh")) == [Row("Hi", "嗨", 1)]
    assert read(tmp_path, pairs="c.jsonl") == [Row("Hi", "嗨", 1)]


def test_entities_are_unescaped_on_request(tmp_path):
    write(tmp_path, a_tsv="you &amp; me\tdu &amp; ich\n")
    assert read(tmp_path, pairs="a.tsv", unescape=True) == [Row("you & me", "du & ich", 1)]
    assert read(tmp_path, pairs="a.tsv")[0].src == "you &amp; me"


def test_two_files_with_a_common_source_language_give_pairs_of_their_targets(tmp_path):
    write(tmp_path, de_tsv="Hi.\tHallo!\nHi.\tTag!\nNo.\tNein.\nBye.\tTschüss.\nHi.\tGrüß Gott!\n")
    write(tmp_path, fr_tsv="Hi.\tSalut !\nNo.\tNon.\nNo.\tPas question.\nHi.\tBonjour.\nYes.\tOui.\nNo.\t\n")
    assert read(tmp_path, pairs="de.tsv", pivoted_with="fr.tsv") == [
        Row("Hallo!", "Salut !", 1),
        Row("Tag!", "Bonjour.", 2),
        Row("Grüß Gott!", "Salut !", 5),
        Row("Nein.", "Non.", 3),
        Row("Nein.", "Pas question.", 3),
    ]
    corpus = CorpusSettings(pairs="de.tsv", pivoted_with="fr.tsv")
    assert corpus.paths(tmp_path) == [tmp_path / "de.tsv", tmp_path / "fr.tsv"]
    assert corpus.names() == "de.tsv pivoted with fr.tsv"
    assert "fr.tsv line 1" in message(tmp_path, pairs="de.tsv", pivoted_with="fr.tsv", columns=(0, 2))


def test_a_bundled_file_is_found_from_anywhere(tmp_path):
    first = read(tmp_path, pairs="bundled:tatoeba-en-zh.tsv.gz")[0]
    assert first == Row("Hi.", "嗨。", 1)
    assert "tatoeba-en-zh.tsv" in message(tmp_path, pairs="bundled:tatoeba-en-zh.tsv.xz")


def test_parquet_is_read_through_datasets(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra [data] is not installed")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    import pyarrow

    parquet.write_table(pyarrow.table({"en": ["Hi"], "zh": ["嗨"]}), tmp_path / "a.parquet")
    assert read(tmp_path, pairs="a.parquet", columns=("en", "zh")) == [Row("Hi", "嗨", 1)]
    assert "no field 'fr'" in message(tmp_path, pairs="a.parquet", columns=("en", "fr"))


def test_without_the_extra_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "pip install datasets" in message(tmp_path, pairs="wmt14:de-en", format="hub")


@pytest.mark.parametrize(
    ("en", "de", "words"),
    [
        ("a\nb\nc\n", "a\n", ["a.en has 3 lines", "a.de has 1", "a.en is longer"]),
        ("a\n", "a\nb\n", ["a.en has 1 lines", "a.de has 2", "a.de is longer"]),
        ("a\n", "a\n\n\n", ["a.de has 3", "more are empty"]),
        ("", "a\n", ["a.en is empty"]),
        ("a\n", b"ok\nna\xefve men\n", ["a.de line 2: byte 3 (0xEF) is not UTF-8", r"na\xefve", "iconv -f latin1"]),
        ("a\n", "a\nb".encode("utf-16"), ["a.de is text in UTF-16", "iconv -f utf-16 -t utf-8 a.de > new-a.de"]),
        ("a\n", "a\nb".encode("utf-16-le"), ["a.de line 1 holds a zero byte", "iconv -f utf-16"]),
        ("a\n", bytes(range(256)) * 50, ["a.de line 1"]),
        ("a\n", b"PK\x03\x04rest", ["a.de is a zip archive", "unpack it"]),
        (
            "a\n",
            gzip.compress(b"a\n" * 9999, mtime=0)[:-12],
            ["a.de is damaged or cut short", "download the file again"],
        ),
        ("a\n", lzma.compress(random.Random(1).randbytes(9999))[:-300], ["a.de"]),
        ("a\n", zstandard.compress(b"ab\n" * 9999)[:-5], ["a.de is damaged or cut short"]),
        ("a\n", b"\x1f\x8b nonsense", ["a.de is damaged"]),
        ("a\n", "x" * 1_000_001, ["a.de line 1 is longer than 1 MB"]),
    ],
)
def test_bad_files_are_named_with_line_and_remedy(tmp_path, en, de, words):
    write(tmp_path, a_en=en, a_de=de)
    said = message(tmp_path, src="a.en", tgt="a.de")
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "text", "columns", "words"),
    [
        ("a.tsv", "a\tb\nonly one\n", (0, 1), ["a.tsv line 2 has 1 column separated by tabs", "only one"]),
        ("a.tsv", "en\tde\n", ("en", "fr"), ["line 1 names no column 'fr'", "en, de"]),
        ("a.csv", "a\n", (0, 1), ["a.csv line 1 has 1 column separated by commas"]),
        ("a.csv", 'a,b\n"a" x,b\n', (0, 1), ["a.csv line 2 is not CSV", "doubled"]),
        ("a.csv", 'a,b\n"a,b\n', (0, 1), ["a.csv line 2 is not CSV"]),
        ("a.jsonl", '{"en": "a", "de": "b"}\n{"en": "a"}\n', ("en", "de"), ["line 2 has no field 'de'", "It has: en"]),
        ("a.jsonl", '{"en": "a", "n": 7}\n', (0, 1), ["line 1 has no field 1", "It has: en, n", "columns ="]),
        ("a.jsonl", '{"en": "a",\n', ("en", "de"), ["line 1 is not JSON"]),
        ("a.json", '[\n{"en": "a"}]', ("en", "de"), ["one JSON list", "jq -c '.[]' a.json"]),
        ("a.jsonl", '{"en": 3, "de": "b"}\n', ("en", "de"), ["line 1: the field 'en' is 3, and text is needed"]),
        ("a.jsonl", '{"en": "\\ud800", "de": "b"}\n', ("en", "de"), ["surrogate"]),
        ("a.docx", "a", (0, 1), ["cannot be told from its name"]),
    ],
)
def test_bad_records_are_named_with_line_and_remedy(tmp_path, name, text, columns, words):
    (tmp_path / name).write_text(text)
    said = message(tmp_path, pairs=name, columns=columns)
    assert all(word in said for word in words), said


def test_a_missing_file_names_the_nearest_and_a_folder_its_files(tmp_path):
    write(tmp_path, train_en="a\n")
    assert "train.em does not exist. Did you mean 'train.en'?" in message(tmp_path, pairs="train.em", format="tsv")
    assert "holds train.en" in message(tmp_path, pairs="zzz.tsv")
    assert "no folder" in message(tmp_path, pairs="nowhere/zzz.tsv")
    (tmp_path / "sub.tsv").mkdir()
    write(tmp_path / "sub.tsv", inner_tsv="a\tb\n")
    assert "is a folder" in (said := message(tmp_path, pairs="sub.tsv")) and "inner.tsv" in said


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_forbidden_file_is_said(tmp_path):
    write(tmp_path, a_tsv="a\tb\n")
    (tmp_path / "a.tsv").chmod(0)
    with pytest.raises(UserError, match=r"a\.tsv: permission is denied"):
        read(tmp_path, pairs="a.tsv")


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({}, "two files"),
        ({"src": "a"}, "tgt is missing"),
        ({"src": "a", "tgt": "b", "pairs": "c"}, "one of the two ways"),
        ({"src": "a", "tgt": "b", "format": "csv"}, "leave format out"),
        ({"pairs": "a", "weight": 0.0}, "above 0"),
        ({"pairs": "a", "columns": (-1, 0)}, "count from 0"),
        ({"src": "a", "tgt": "b", "pivoted_with": "c"}, "files of pairs"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, word):
    with pytest.raises(ValidationError, match=word):
        CorpusSettings(**settings)
