"""`sightline train`, `prepare` and the program as a whole."""

import json
import os
import signal
import subprocess
import sys
import tomllib

import pytest

from sightline.cli.corpus import chosen_recipe
from sightline.data.prepared import Prepared

SMALL = [
    "model.d_model=16",
    "model.d_ff=16",
    "model.n_encoder_layers=1",
    "model.n_decoder_layers=1",
    "train.max_steps=4",
    "train.validate_every=2",
    "train.max_validated=5",
    "train.threads=1",
    "train.precision=fp32",
    "train.tensorboard=false",
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def test_a_file_of_pairs_is_enough(sightline, tsv, tmp_path):
    result = sightline("train", "--data", tsv, "--out", "mine", *SMALL)
    assert result.status == 0, result.err
    said = " ".join(result.out.split())
    for word in ("300 pairs of about", "subwords", "dropout 0.3", "batches of", "60 epochs", "trained on", "BLEU"):
        assert word in said, word
    assert 'sightline translate --model mine "your sentence"' in said
    for name in ("recipe.toml", "config.toml", "model.safetensors", "tokenizer.json", "card.md", "test.json"):
        assert (tmp_path / "mine" / name).is_file()
    recipe = tomllib.loads((tmp_path / "mine" / "recipe.toml").read_text())
    assert recipe["train"]["max_steps"] == 4 and recipe["data"]["train"][0]["pairs"] == str(tsv)
    assert sightline("translate", "a b", "--model", "mine").status == 0
    again = sightline("train", "--data", tsv, "--out", "mine")
    assert again.status == 0 and "mine is trained already" in again.out


def test_steps_are_planned_by_what_the_machine_was_seen_to_do_unless_they_are_given(tsv):
    told = []
    for settings, timed in (([], True), (["train.max_steps=7"], False)):
        told.clear()
        chosen, _, reasons = chosen_recipe(
            None, settings, None, None, tsv, "", "", None, lambda *what: told.append(what)
        )
        assert bool(told) is timed and ("minutes here" in reasons[-1]) is timed
        assert timed or chosen.train.max_steps == 7


def test_a_trained_run_goes_on_when_more_steps_are_asked_for(sightline, run):
    result = sightline("train", run, "train.max_steps=5")
    assert result.status == 0, result.err
    assert f"in {run}, going on from step 4" in result.out and "Pairs" not in result.out
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["event"] == "train"] == [1, 2, 3, 4, 5]


def test_prepare_prints_a_report_and_train_uses_what_it_made(sightline, tsv, tmp_path):
    with tsv.open("a") as file:
        file.write("a b\t\nsame pair\tx\nsame pair\tx\n")
    result = sightline("prepare", "--data", tsv, "--out", "mine", "tokenizer.vocab_size=120")
    assert result.status == 0, result.err
    for word in ("read from pairs.tsv", "303", "dropped: one side is empty", "pairs.tsv:301", "set aside", "unknown"):
        assert word in result.out, word
    assert max(map(len, result.out.splitlines())) <= 170
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["data"]
    made = (tmp_path / "mine" / "data" / "meta.json").stat().st_mtime_ns
    result = sightline("train", "--data", tsv, "--out", "mine", "tokenizer.vocab_size=120", *SMALL)
    assert result.status == 0 and (tmp_path / "mine" / "data" / "meta.json").stat().st_mtime_ns == made


@pytest.mark.e2e
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_saves_and_the_run_goes_on(sightline, tsv, tmp_path):
    settings = [s for s in SMALL if "max_steps" not in s]
    command = [sys.executable, "-m", "sightline", "train", "--data", str(tsv), "--out", "mine"]
    with subprocess.Popen(
        [*command, *settings, "train.max_steps=100000", "train.validate_every=100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGINT)
        rest, complaints = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 130, complaints
    assert complaints == "" and "To go on: sightline train mine" in rest
    *_, state = sorted((tmp_path / "mine" / "state").iterdir())
    step = json.loads((state / "state.json").read_text())["run"]["step"]
    assert step >= 1 and f"saved at step {step}" in rest
    result = sightline("train", "mine", f"train.max_steps={step + 2}")
    assert result.status == 0 and f"going on from step {step}" in result.out, result.err
    assert (tmp_path / "mine" / "model.safetensors").is_file()


@pytest.mark.e2e
def test_help_does_not_wait_for_torch():
    program = (
        "import sys\n"
        "from sightline.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'tokenizers', 'sacrebleu', 'pydantic') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert ended.returncode == 0 and ended.stdout.strip().endswith("[]"), ended.stdout + ended.stderr
    assert "train" in ended.stdout and "translate" in ended.stdout


@pytest.mark.parametrize("command", ["", "train", "prepare", "translate", "evaluate", "demo", "doctor"])
def test_every_command_has_help_within_eighty_columns(command, sightline, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    result = sightline(*command.split(), "--help")
    assert result.status == 0 and max(map(len, result.out.splitlines())) <= 80
    assert "Usage: sightline" in result.out


def test_the_version_is_told(sightline):
    assert sightline("--version").out.startswith("sightline 0.")


def test_doctor_names_versions_format_memory_and_disk(sightline, monkeypatch):
    monkeypatch.setattr("sightline.training.devices.matmul_rate", lambda *_: 1e10)
    result = sightline("doctor")
    assert result.status == 0
    for word in ("torch", "processor", "number format", "memory free", "disk free", "built-in model", "python"):
        assert word in result.out


def test_json_objects_are_pairs_of_their_first_two_texts_or_of_named_ones(sightline, sentences, tmp_path):
    rows = [{"id": n, "en": src, "de": tgt, "note": "x"} for n, (src, tgt) in enumerate(sentences)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert sightline("prepare", "--data", "pairs.jsonl", "--out", "first").status == 0
    named = sightline("prepare", "--data", "pairs.jsonl", 'data.train.0.columns=["de", "en"]', "--out", "named")
    assert named.status == 0, named.err
    first, second = (Prepared.open(tmp_path / name / "data").evaluation("valid")[0] for name in ("first", "named"))
    assert (first.src, first.refs) in [(src, (tgt,)) for src, tgt in sentences]
    assert (second.refs[0], (second.src,)) in [(src, (tgt,)) for src, tgt in sentences]


def test_the_card_names_the_command_that_made_the_model(trained):
    command = next(
        line for line in (trained / "card.md").read_text().splitlines() if line.startswith("sightline train")
    )
    assert command.startswith("sightline train copy") and "train.max_steps=4" in command


def test_a_plan_says_what_a_training_takes_and_writes_nothing(sightline, tsv, tmp_path):
    before = sorted(path.name for path in tmp_path.iterdir())
    result = sightline("train", "copy", "--plan", *SMALL)
    assert result.status == 0, result.err
    for said in (
        "M parameters",
        "optimizer (adam)",
        "activations of a batch",
        "The largest batch that fits here",
        "8 x H100",
    ):
        assert said in result.out, said
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_batch_can_be_as_large_as_fits(sightline, tsv, tmp_path):
    result = sightline("train", "--data", tsv, "--out", "mine", *SMALL, "train.batch_tokens=auto")
    assert result.status == 0, result.err
    assert "tokens: a hundredth of an epoch" in " ".join(result.out.split())
    assert (
        json.loads(max((tmp_path / "mine" / "state").iterdir()).joinpath("state.json").read_text())["run"][
            "batch_tokens"
        ]
        == 64
    )
