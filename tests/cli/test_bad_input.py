"""Whatever a person gives by mistake: one paragraph that names the place and the remedy, status 2, nothing half-written."""

import collections
import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sightline.training.recipe import RECIPES

LINES = b"".join(b"a house %d\tein Haus %d\n" % (n, n) for n in range(60))
TINY = ["train.max_steps=4", "train.tensorboard=false"]


class Files:
    """All that lies below a folder, to see that a command has left it alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = self.now()

    def now(self) -> dict[str, bytes | None]:
        return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(self.folder.rglob("*"))}

    def unchanged(self) -> bool:
        return self.now() == self.before


@pytest.fixture
def refused(sightline, tmp_path):
    """Calls the command line and checks that it refuses as it should; gives the message."""

    def call(*arguments, names=(), stdin=b"", changes=False) -> str:
        files = Files(tmp_path)
        result = sightline(*arguments, stdin=stdin)
        message = result.err.strip()
        assert result.status == 2, result
        assert message.startswith("error: ") and "\n" not in message, message
        assert "Traceback" not in message and "Errno" not in message, message
        for word in names:
            assert word in message, f"{word!r} is not in: {message}"
        assert changes or files.unchanged(), set(files.now()) ^ set(files.before)
        return message

    return call


def archive(data: bytes) -> bytes:
    return gzip.compress(data)


BAD_FILES = {
    "an empty file": ("pairs.tsv", b"", ["pairs.tsv is empty", "one sentence a line"]),
    "a binary file": ("pairs.tsv", LINES + b"a\0b\tc\n", ["pairs.tsv line 61", "binary"]),
    "UTF-16": ("pairs.tsv", LINES.decode().encode("utf-16"), ["pairs.tsv", "UTF-16", "iconv -f utf-16"]),
    "UTF-16 without its mark": ("pairs.tsv", LINES.decode().encode("utf-16-le"), ["pairs.tsv line 1", "UTF-16"]),
    "Latin-1": ("pairs.tsv", LINES + "schön\tb\n".encode("latin-1"), ["line 61", "0xF6", "iconv -f latin1"]),
    "an archive cut short": ("pairs.tsv.gz", archive(os.urandom(9000).hex().encode())[:900], ["cut short", "again"]),
    "an archive with flipped bits": ("p.tsv.gz", archive(LINES)[:60] + b"?" * 9, ["p.tsv.gz is damaged"]),
    "a zip archive": ("pairs.tsv", b"PK\x03\x04....", ["zip archive", "unpack"]),
    "a line of 1 MB": ("pairs.tsv", LINES + b"word " * 210_000, ["line 61", "1 MB", "one sentence a line"]),
    "one column": ("pairs.tsv", LINES + b"only one\n", ["pairs.tsv line 61 has 1 column", "only one"]),
    "CSV with an open quotation mark": ("pairs.csv", b'a,b\n"c,d\n', ["pairs.csv line 2 is not CSV", "quotation"]),
    "JSON beyond all depth": ("pairs.jsonl", b"[" * 100_000 + b"\n", ["pairs.jsonl line 1 is not JSON"]),
    "broken JSON": ("pairs.jsonl", b'["a", "b"]\n{"a": \n', ["pairs.jsonl line 2 is not JSON"]),
    "JSON without two texts": ("pairs.jsonl", b'{"en": "a", "n": 1}\n' * 60, ["line 1", "It has: en, n", "columns"]),
    "an unknown ending": ("pairs.docx", LINES, ["pairs.docx", ".tsv", "format ="]),
    "three lines": ("pairs.tsv", b"a\tb\nc\td\ne\tf\n", ["3 sentence pairs", "at least 50"]),
    "empty sides only": ("pairs.tsv", b"a house\t\n" * 60, ["no pairs are left", "60", "one side is empty"]),
    "one pair again and again": ("pairs.tsv", b"a house\tein Haus\n" * 60, ["pairs", "hold_out"]),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_of_pairs_is_refused(kind, refused, tmp_path):
    name, content, names = BAD_FILES[kind]
    (tmp_path / name).write_bytes(content)
    refused("prepare", "--data", name, names=names)


def test_plain_text_named_gz_is_read_as_what_it_is(sightline, tsv):
    renamed = tsv.rename(tsv.with_name("pairs.tsv.gz"))
    assert sightline("prepare", "--data", renamed).status == 0


def test_a_missing_file_is_named_with_its_neighbour(refused, tsv):
    refused("train", "--data", "pair.tsv", names=["pair.tsv does not exist", "Did you mean 'pairs.tsv'?"])
    refused("train", "--data", "nowhere/pairs.tsv", names=["There is no folder"])


def test_a_folder_in_the_place_of_a_file_is_refused(refused, tsv, tmp_path):
    refused("train", "--data", tmp_path / "../" / tmp_path.name, names=["cannot be told from its name"])
    (tmp_path / "corpus.tsv").mkdir()
    refused("train", "--data", "corpus.tsv", names=["corpus.tsv is a folder, and a file is needed"])
    refused("train", "--src", "corpus.tsv", "--tgt", tsv, names=["corpus.tsv is a folder"])


def test_files_of_unequal_length_are_counted(refused, tmp_path):
    (tmp_path / "c.en").write_text("a house\n" * 70)
    (tmp_path / "c.de").write_text("ein Haus\n" * 68)
    message = refused("train", "--src", "c.en", "--tgt", "c.de", names=["70 lines", "68"])
    assert "align" in message


def test_swapped_sides_are_found(refused, sightline, tmp_path):
    pairs = [(f"this is the house of number {n}", f"这是第{n}号的房子") for n in range(60)]
    (tmp_path / "c.zh").write_text("".join(f"{zh}\n" for _, zh in pairs), encoding="utf-8")
    (tmp_path / "c.en").write_text("".join(f"{en}\n" for en, _ in pairs), encoding="utf-8")
    names = ["swapped", "Swap src and tgt", "c.zh"]
    refused("prepare", "--src", "c.zh", "--tgt", "c.en", "--src-lang", "en", "--tgt-lang", "zh", names=names)


def test_swapped_sides_are_found_also_within_one_script(refused, sightline, tmp_path):
    pairs = [(f"the man with the dog is in house {n}", f"der Mann mit dem Hund ist in Haus {n}") for n in range(60)]
    (tmp_path / "c.de").write_text("".join(f"{en}\n" for en, _ in pairs), encoding="utf-8")
    (tmp_path / "c.en").write_text("".join(f"{de}\n" for _, de in pairs), encoding="utf-8")
    refused("prepare", "--src", "c.en", "--tgt", "c.de", names=["swapped", "reads like de", "Swap src and tgt"])
    assert sightline("prepare", "--src", "c.de", "--tgt", "c.en", "--src-lang", "en", "--tgt-lang", "de").status == 0


def test_a_column_that_is_not_there_is_named_with_its_neighbour(refused, tmp_path):
    (tmp_path / "p.csv").write_text("english,german\na,b\n")
    (tmp_path / "r.toml").write_text('[data.train]\npairs = "p.csv"\ncolumns = ["english", "germann"]\n')
    refused("prepare", "r.toml", names=["p.csv line 1", "'germann'", "Did you mean 'german'?"])


def test_too_many_held_out_sentences_are_refused(refused, tsv):
    refused("prepare", "--data", tsv, "data.hold_out_test=250", names=["250 for the test", "set hold_out_valid"])


def test_an_unknown_recipe_is_named_with_its_neighbour(refused):
    refused("train", "coppy", names=["no recipe 'coppy'", "Did you mean 'copy'?", "tatoeba-en-zh", ".toml"])
    refused("train", "pairs.tsv", names=["no recipe 'pairs.tsv'", "--data", "--src and --tgt"])
    refused("train", "missing.toml", names=["missing.toml", "no such file"])


BAD_RECIPES = {
    "no TOML": ("[data\n", ["r.toml line 1", "not valid TOML"]),
    "an unknown key": (
        '[data.train]\npairs="p.tsv"\n[train]\nmax_step=3\n',
        ["line 4", "Did you mean 'train.max_steps'"],
    ),
    "a wrong type": ('[data.train]\npairs="p.tsv"\n[train]\nlr="high"\n', ["line 4", "train.lr", '"high"', "number"]),
    "a value out of range": ('[data.train]\npairs="p.tsv"\n[train]\nmax_steps=0\n', ["line 4", "train.max_steps", "1"]),
    "an unknown choice": ('[data.train]\npairs="p.tsv"\n[train]\nschedule="cos"\n', ["schedule", "cosine", "constant"]),
    "no data": ('name="x"\n', ["data"]),
    "half a corpus": ('[data.train]\nsrc="a.en"\n', ["tgt is missing"]),
    "an unknown core": ('[data.train]\npairs="p.tsv"\n[model]\nattention="dots"\n', ["model.attention", "'dot'"]),
    "heads that do not divide": (
        '[data.train]\npairs="p.tsv"\n[model]\nd_model=30\nn_heads=4\n',
        ["d_model", "n_heads"],
    ),
    "Latin-1": ('name = "sch\xf6n"\n', ["r.toml line 1", "not UTF-8"]),
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_bad_recipe_is_refused(kind, refused, tmp_path):
    text, names = BAD_RECIPES[kind]
    (tmp_path / "r.toml").write_bytes(text.encode("latin-1"))
    (tmp_path / "p.tsv").write_bytes(LINES)
    refused("train", "r.toml", names=names)


def test_bad_settings_on_the_command_line_are_refused(refused):
    refused("train", "copy", "train.max_stepz=3", names=["given on the command line", "train.max_steps"])
    refused("train", "copy", "train.max_steps=many", names=["given on the command line", "train.max_steps", '"many"'])
    refused("train", "copy", "train.max_steps", names=["'train.max_steps' is not of the form NAME=VALUE"])
    refused("train", "copy", "train.lr.x=3", "train.clip=-1", names=["train.lr"])


def test_contradicting_arguments_are_refused(refused, tsv):
    refused("train", "copy", "--data", tsv, names=["recipe (copy)", "one of the two"])
    refused("train", "--src", tsv, names=["--tgt is missing"])
    refused("train", "--data", tsv, "--src", tsv, names=["--data", "--src"])
    refused("train", names=["sightline train tatoeba-en-zh", "--src corpus.en", "Recipes: copy"])
    refused("translate", "Hello", "--file", tsv, names=["--file"])
    refused("evaluate", "--src", tsv, names=["--src and --ref go together"])
    refused("evaluate", "--split", "nonsense", names=["--split nonsense", "test or valid"])


def test_an_unknown_option_and_command_are_usage_errors(sightline):
    for arguments in (["train", "--nonsense"], ["trian"], ["translate", "--beam=wide", "--beam"]):
        result = sightline(*arguments)
        assert result.status == 2 and "Traceback" not in result.err and arguments[-1] in result.err


def test_translations_do_not_replace_the_text_they_are_of(refused, trained, tmp_path):
    (tmp_path / "text").write_text("1 2\n")
    (tmp_path / "link").symlink_to("text")
    refused(
        "translate", "--file", "text", "--output", "link", "--model", trained, names=["--file and --output are both"]
    )
    assert (tmp_path / "text").read_text() == "1 2\n"


@pytest.mark.parametrize(("given", "meant"), [("cn", "zh"), ("Chinese", "zh"), ("jp", "ja")])
def test_a_name_that_is_no_code_of_a_language_is_refused(refused, tsv, given, meant):
    refused("prepare", "--data", tsv, "--tgt-lang", given, names=["tgt_lang", given, f"write '{meant}'"])


def test_a_core_in_a_module_that_is_not_found_says_where_to_stand(refused):
    refused("train", "copy", "model.attention=nowhere:Sharp", names=["nowhere:Sharp", "PYTHONPATH=."])


def test_missing_files_of_a_recipe_are_asked_for_together(refused, tmp_path):
    names = ["multi30k-en-de-tok needs 6 files", "lacks 6", "train.lc.norm.tok.en.gz", "data.path=DIR", "Multi30k"]
    refused("train", "multi30k-en-de-tok", names=names)
    (tmp_path / "m30k").mkdir()
    refused("train", "multi30k-en-de-tok", "data.path=m30k", names=["the folder m30k lacks 6"])
    refused("prepare", "multi30k-en-de-tok", "data.path=no", names=['data.path = "no"', "no such folder"])


def test_files_of_a_recipe_may_be_unpacked(sightline, tsv, tmp_path):
    (tmp_path / "r.toml").write_text('data.train.pairs = "pairs.tsv.gz"\n')
    assert sightline("prepare", "r.toml", f"data.path={tmp_path}").status == 0


def test_a_full_disk_is_said_before_anything_is_written(refused, tsv, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 5000, 5000))
    refused("train", "--data", tsv, names=["4.9 KiB free", "Free some space"])


def refuse(number):
    def refused(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return refused


@pytest.mark.parametrize(("number", "remedy"), [(errno.EROFS, "read-only"), (errno.EACCES, "permission")])
def test_a_folder_that_cannot_be_written_is_said(number, remedy, refused, tsv, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", refuse(number))
    refused("train", "--data", tsv, "--out", "there", names=["there", remedy, "hoose a"])


def test_a_disk_that_fills_up_while_training_keeps_the_last_good_state(refused, sightline, run, monkeypatch):
    states = sorted(path.name for path in (run / "state").iterdir())
    monkeypatch.setattr("sightline.training.state.save_file", refuse(errno.ENOSPC))
    refused("train", run, "train.max_steps=6", names=["the disk is full", "Free some space"], changes=True)
    assert sorted(path.name for path in (run / "state").iterdir()) == states
    assert not list(run.rglob("*.partial"))
    monkeypatch.undo()
    assert sightline("translate", "1 2", "--model", run).status == 0


def test_a_disk_that_breaks_anywhere_in_the_program_is_said(refused, trained, monkeypatch):
    monkeypatch.setattr("sightline.runtime.translator.translate", refuse(errno.EIO))
    refused("translate", "1", "--model", trained, names=["the disk reports an error"])


def test_a_file_in_the_place_of_the_run_folder_is_refused(refused, tsv):
    refused("train", "--data", tsv, "--out", tsv, names=["pairs.tsv is a file", "--out"])
    refused("train", "copy", "--out", tsv / "run", names=["pairs.tsv"])


def test_a_run_folder_with_other_settings_is_refused_and_its_data_are_kept(refused, run, tsv):
    refused("train", "copy", "--out", run, names=["other settings", "model.d_model", "--out"])
    refused("prepare", "copy", "tokenizer.vocab_size=50", "--out", run, names=["other settings"])
    refused("train", "--data", tsv, "--out", run, names=["another corpus", "copy.tsv", "sightline train"])


def test_a_damaged_state_falls_back_to_the_one_before(sightline, run):
    newest = sorted((run / "state").iterdir())[-1]
    (newest / "tensors.safetensors").write_bytes(b"damaged")
    result = sightline("train", run, "train.max_steps=6")
    assert result.status == 0 and newest.name in result.out and "is damaged" in result.out
    assert "going on from step 2" in result.out


def test_states_all_damaged_are_said(refused, run):
    for state in (run / "state").iterdir():
        (state / "state.json").write_text("{")
    refused("train", run, "train.max_steps=6", names=["step-", "is damaged", "train again"], changes=True)


def test_a_test_set_inside_the_training_set_is_said(sightline, tmp_path, sentences):
    lines = [f"{src}\t{tgt}\n" for src, tgt in sentences]
    (tmp_path / "train.tsv").write_text("".join(lines))
    (tmp_path / "test.tsv").write_text("".join(lines[:20]))
    (tmp_path / "r.toml").write_text('[data]\ntrain = { pairs = "train.tsv" }\ntest = { pairs = "test.tsv" }\n')
    result = sightline("prepare", "r.toml", "data.hold_out_valid=20")
    assert result.status == 0
    assert "hold a sentence of the test set and were left out" in " ".join(result.out.split())
    (tmp_path / "test.tsv").write_text("".join(lines))
    result = sightline("prepare", "r.toml", "data.hold_out_valid=20")
    assert result.status == 2 and "no pairs are left" in result.err and "test set" in result.err


# bundles


def test_a_model_folder_that_is_missing_or_none_is_refused(refused, tmp_path):
    refused("translate", "a", "--model", "nowhere", names=["no model folder nowhere", "sightline train"])
    (tmp_path / "empty").mkdir()
    refused("translate", "a", "--model", "empty", names=["empty has no", "it is not a sightline model"])


def test_a_file_missing_from_a_bundle_is_named(refused, run):
    for name in ("tokenizer.json", "model.safetensors", "config.toml"):
        kept = (run / name).read_bytes()
        (run / name).unlink()
        refused("translate", "a", "--model", run, names=[f"has no {name}"])
        (run / name).write_bytes(kept)


def test_damaged_weights_are_named(refused, run):
    weights = run / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[:-100], whole[:50], b"", b"\xff" * 100):
        weights.write_bytes(damaged)
        refused("translate", "a", "--model", run, names=["model.safetensors is damaged", "again"])


def test_weights_of_another_shape_or_name_are_refused(refused, run):
    weights = load_file(run / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: torch.zeros(3, 3)}, run / "model.safetensors")
    refused("translate", "a", "--model", run, names=[name, "(3, 3)", "config.toml"])
    save_file({**weights, "odd": torch.zeros(3)}, run / "model.safetensors")
    refused("translate", "a", "--model", run, names=["odd", "does not fit"])


def test_a_damaged_tokenizer_is_named(refused, run):
    whole = (run / "tokenizer.json").read_text()
    for damaged in (whole[: len(whole) // 2], "{}", "[]", "", json.dumps({**json.loads(whole), "settings": 3})):
        (run / "tokenizer.json").write_text(damaged)
        refused("translate", "a", "--model", run, names=["tokenizer.json"])


def test_a_damaged_config_is_named_with_its_line(refused, run):
    config = run / "config.toml"
    whole = config.read_text()
    config.write_text(whole.replace("d_model", "d_modell"))
    refused("translate", "a", "--model", run, names=["config.toml line", "Did you mean 'model.d_model'?"])
    config.write_text(whole.replace("format = 1", "format = 99"))
    refused("translate", "a", "--model", run, names=["format 99", "Use the version"])
    config.write_text(whole[: len(whole) // 2].rstrip() + "\nx = [")
    refused("translate", "a", "--model", run, names=["config.toml line", "not valid TOML"])


# translating and scoring


def test_bad_wishes_for_a_translation_are_refused(refused, trained):
    refused("translate", "1", "--model", trained, "--to", "xx", names=["'xx'", "leave --to out"])
    refused("translate", "1", "--model", trained, "--beam", 0, names=["beam", "0", "at least 1"])
    refused("translate", "1", "--model", trained, "--beam", 2, "--n-best", 5, names=["n_best (5)", "beam (2)"])
    refused("translate", "1", "--model", trained, "--n-best", 0, names=["n_best"])


def test_standard_input_that_is_not_utf8_is_named_with_its_line(sightline, trained):
    result = sightline("translate", "--model", trained, stdin="1 2\nsch\xf6n\n".encode("latin-1"))
    assert result.status == 2 and len(result.out.splitlines()) == 1
    assert "the standard input line 2" in result.err and "0xF6" in result.err and "iconv" in result.err


def test_a_bad_file_to_translate_leaves_no_output(refused, trained, tmp_path):
    (tmp_path / "in.txt").write_bytes(b"1 2\n" * 5 + b"\xff\xfe\n")
    refused("translate", "--model", trained, "--file", "in.txt", "--output", "out.txt", names=["in.txt line 6"])
    refused("translate", "--model", trained, "--file", "none.txt", names=["none.txt does not exist"])
    (tmp_path / "in.txt").write_bytes(b"1 2\n")
    refused("translate", "1", "--model", trained, "--output", "in.txt/out.txt", names=["in.txt", "Choose another name"])
    refused("translate", "1", "--model", trained, "--output", tmp_path, names=["is a folder"])


def test_unequal_translations_and_references_are_counted(refused, trained, tmp_path):
    for name, count in (("src", 5), ("ref", 4), ("hyp", 3)):
        (tmp_path / name).write_text("1 2 3\n" * count)
    own = ["--src", "src", "--ref"]
    refused("evaluate", trained, *own, "ref", names=["src has 5 lines and ref has 4"])
    refused("evaluate", "hyp", *own, "src", names=["hyp has 3 translations and the test set 5"])
    refused("evaluate", trained, *own, "src", "--against", "hyp", names=["hyp has 3 translations"])
    refused("evaluate", trained, *own, "nothing", names=["nothing does not exist"])


def test_evaluating_nothing_is_refused(refused, trained, tmp_path):
    refused("evaluate", names=["There is no test set", "--recipe tatoeba-en-de-fr-zh", "--src FILE --ref FILE"])
    refused("evaluate", "copy", names=["copy does not exist", "--recipe copy"])
    refused("evaluate", "run/nowhere", names=["run/nowhere does not exist"])
    refused("evaluate", "--recipe", "coppy", names=["Did you mean 'copy'?"])
    refused("evaluate", "data.path=x", names=["data.path=x", "--recipe"])
    (tmp_path / "hyp").write_text("1\n")
    refused("evaluate", "hyp", names=["There is no test set"])


def test_a_start_from_a_missing_bundle_is_refused(refused, tsv):
    refused("train", "--data", tsv, "train.init=nowhere", names=["no model folder nowhere"])


def test_a_real_process_exits_with_two_and_writes_to_the_error_stream():
    command = [sys.executable, "-m", "sightline", "train", "--data", "missing.tsv"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and "missing.tsv does not exist" in ended.stderr


def test_every_recipe_that_comes_along_is_right():
    from sightline.training.recipe import read_recipe

    for path in RECIPES.glob("*.toml"):
        assert read_recipe(path.stem).name == path.stem


def test_a_folder_of_the_users_own_is_never_replaced(refused, tsv, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious.txt").write_text("mine")
    refused("train", "--data", tsv, "--out", tmp_path, names=["data holds files", "--out"], changes=True)
    assert (tmp_path / "data" / "precious.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.toml").write_text("a = 1")
    refused("train", "--data", tsv, "--out", tmp_path / "other", names=["would overwrite (config.toml)", "--out"])


def test_a_trained_model_without_its_state_is_not_trained_over(refused, run):
    shutil.rmtree(run / "state")
    refused("train", run, names=["a trained model without the state", "--out"])


@pytest.mark.slow
def test_a_corpus_that_changed_under_a_run_is_refused(refused, sightline, tsv, tmp_path):
    short = [
        "model.d_model=16",
        "model.d_ff=16",
        "decoding.beam=1",
        "decoding.max_len_ratio=0",
        "decoding.max_len_extra=2",
    ]
    arguments = ["train", "--data", tsv, *TINY, *short, "--out", tmp_path / "mine"]
    assert sightline(*arguments).status == 0
    text = tsv.read_text(encoding="utf-8")
    prepared = (tmp_path / "mine" / "data" / "meta.json").stat().st_mtime
    for when in (prepared + 10, prepared - 10):  # a file put in its place may be older
        tsv.write_text(text + "one more\teins mehr\n", encoding="utf-8")
        os.utime(tsv, (when, when))
        refused(*arguments, names=["pairs.tsv has changed", "--out"])
    tsv.write_text(text, encoding="utf-8")
    os.utime(tsv, (prepared + 10, prepared + 10))
    assert "is trained already" in sightline(*arguments).out
    tsv.unlink()
    assert "is trained already" in sightline("train", tmp_path / "mine").out


def test_a_run_without_validation_sentences_is_refused(refused, tsv):
    names = ["no validation sentences", "hold_out_valid"]
    refused("train", "--data", tsv, "data.hold_out_valid=0", "--out", "mine", names=names, changes=True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("name=../elsewhere", "a name is letters"),
        ("model.n_kv_heads=-1", "model.n_kv_heads"),
        ("train.betas=[1.5, 0.9]", "train.betas"),
        ("train.seed=-1", "train.seed"),
        ("data.split_seed=-1", "data.split_seed"),
        ("decoding.beam=100000", "decoding.beam"),
        ('model.attention={kind="cosine", length="x"}', "Cosine cannot be made"),
        ('data.train.src_lang="../x"', "src_lang is a code"),
        ("model.d_model=1000000000", "takes at least"),
    ],
)
def test_a_setting_out_of_its_bounds_is_named(setting, said, refused):
    refused("train", "copy", setting, names=[said])


def test_a_language_that_is_no_code_is_named(refused, tsv):
    refused("prepare", "--data", tsv, "--src-lang", "zh/cn", names=["src_lang is a code", "zh/cn"])


def test_a_folder_that_is_missing_is_said_by_doctor(refused):
    refused("doctor", "--folder", "nowhere", names=["nowhere does not exist"])


def test_an_argument_that_is_not_utf8_is_said(refused, trained):
    refused("translate", "\udcff", "--model", trained, names=["not UTF-8"])
