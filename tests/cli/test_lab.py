"""`sightline lab`."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightline.bundle import load_bundle
from sightline.lab import probing
from sightline.lab.probes.recall import Practice
from sightline.lab.size import counted

QUICK = [
    "lab",
    "why-attention",
    "--quick",
    "--minutes",
    "0.02",
    "--out",
    "small",
    "train.threads=1",
    "train.precision=fp32",
    "tokenizer.vocab_size=300",
    "data.hold_out_valid=20",
    "data.hold_out_test=30",
    "data.max_len=24",
    "decoding.max_len_ratio=1",
    "decoding.max_len_extra=2",
]


def test_an_unknown_laboratory_is_answered_with_the_nearest(sightline):
    result = sightline("lab", "why-atention")
    assert result.status == 2
    assert (
        "There is no laboratory 'why-atention'. Did you mean 'why-attention'?" in result.err
        and "permutation" in result.err
    )


def test_mistakes_are_said_before_anything_is_trained(sightline, tmp_path: Path):
    for given, said in (
        (["--only", "gruu"], "Did you mean 'gru'?"),
        (["--minutes", "-1"], "give more than none"),
        (["trian.threads=1"], "train"),
    ):
        result = sightline("lab", "why-attention", "--quick", *given)
        assert result.status == 2 and said in result.err, given
    assert not list(tmp_path.iterdir())


def test_the_full_experiment_asks_for_its_corpus(sightline):
    result = sightline("lab", "why-attention", "--only", "gru")
    assert result.status == 2 and "data.path=DIR" in result.err


def test_words_in_another_order_go_through_models_with_positions_and_without(sightline, trained: Path, tmp_path: Path):
    result = sightline("lab", "permutation", "1 2 3", "--model", trained, "--out", "order")
    assert result.status == 0, result.err
    text = (tmp_path / "order" / "permutation.md").read_text(encoding="utf-8")
    assert f"sightline lab permutation '1 2 3' --model {trained}" in text
    cosines = {tuple(row[:2]): float(row[2]) for row in re.findall(r"^\| (.*?) \| (\w+) \| (-?\d\.\d+) ", text, re.M)}
    assert cosines["Transformer", "no"] == 1.0 > cosines["Transformer", "yes"]
    assert "3 2 1" in text and (tmp_path / "order" / "permutation.html").is_file()
    for given, said in (
        (["one"], "fewer than two words"),
        (["a dog saw a"], 'first and the last word of "a dog saw a" are the same'),
        (["a b", "--model", "nowhere"], "no model folder"),
    ):
        refused = sightline("lab", "permutation", *given)
        assert refused.status == 2 and said in refused.err


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sightline", *QUICK, "--only", "gru"]
    command[command.index("0.02")] = "60"
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    log = tmp_path / "small" / "runs" / "transformer-1" / "log.jsonl"
    deadline = time.monotonic() + 240
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(
        r"Stopped and saved at step \d+ of transformer, seed 1. To go on: sightline lab why-attention --quick", out
    )
    assert (tmp_path / "small" / "runs" / "transformer-1" / "state").is_dir()


@pytest.mark.slow
def test_why_attention_trains_probes_and_tells_and_a_second_call_only_tells(sightline, tmp_path: Path, monkeypatch):
    tiny = probing.Size((4, 8), 64, 2, 1, (1, 2, 4), 1, (2, 4), Practice(steps=3, rows=4), 20_000)
    monkeypatch.setattr(probing, "QUICK", tiny)
    result = sightline(*QUICK)
    assert result.status == 0, result.err
    keys = ("transformer", "gru-additive", "gru", "lstm-general", "elman-additive", "conv")
    for number, key in enumerate(keys, 1):
        assert f"Run {number} of 6: {key}, seed 1" in result.out
    page = (tmp_path / "small" / "why-attention.html").read_text(encoding="utf-8")
    assert page.count("<section") == 12 and "The rules" in page and "规则" in page
    assert len(list((tmp_path / "small" / "results").iterdir())) == 6
    sizes = [counted(load_bundle(run).model) for run in (tmp_path / "small" / "runs").iterdir()]
    assert len(sizes) == 6 and max(sizes) / min(sizes) < 1.07
    files = {
        p: p.stat().st_mtime_ns
        for p in (tmp_path / "small").rglob("*")
        if p.suffix in (".json", ".jsonl", ".safetensors")
    }
    again = sightline(*QUICK)
    assert again.status == 0, again.err
    assert "Run 1" not in again.out and again.out.splitlines()[-1] == result.out.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert (tmp_path / "small" / "why-attention.html").read_text(encoding="utf-8") == page
    changed = sightline(*QUICK, "train.clip=0.5")
    assert changed.status == 2 and "train.clip differ" in changed.err
