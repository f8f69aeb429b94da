"""A run that was stopped ends with the same weights, bit for bit, as one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sightline.errors import ConfigError, UserError
from sightline.training.loop import fit
from sightline.training.run import Run
from sightline.training.start import load_run


def trained(run: Run, steps: int = 1000) -> list[float]:
    losses = []
    for step in fit(run):
        losses.append(step.loss)
        if len(losses) == steps:
            break
    return losses


def weights(folder: Path) -> dict[str, Tensor]:
    newest = sorted((folder / "state").glob("step-*"))[-1]
    return load_file(newest / "tensors.safetensors") | load_file(folder / "model.safetensors")


def assert_same(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(
    "added",
    [
        pytest.param(["train.optimizer=adam"], marks=pytest.mark.slow),
        ["train.optimizer=adamw", "train.weight_decay=0.1"],
        ["train.optimizer=muon"],
        ["train.r_drop=5"],
        pytest.param(["train.precision=bf16"], marks=pytest.mark.slow),
        pytest.param(["train.threads=2"], marks=pytest.mark.slow),
    ],
    ids=lambda added: added[0],
)
def test_twenty_steps_are_ten_then_resume_then_ten(settings: list[str], tmp_path: Path, added: list[str]) -> None:
    settings = [*settings, *added]
    whole = trained(load_run("copy", *settings, out=tmp_path / "whole"))
    halves = trained(load_run("copy", *settings, out=tmp_path / "halves"), steps=10)
    torch.manual_seed(99)
    torch.rand(7)
    halves += trained(load_run("copy", *settings, out=tmp_path / "halves"))
    assert halves == whole and len(whole) == 20
    assert_same(tmp_path / "whole", tmp_path / "halves")


def test_what_a_killed_save_left_behind_is_cleared_away_by_the_next(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    run.save()
    (tmp_path / "state" / ".step-00000003.123456.partial").mkdir()
    (tmp_path / "state" / ".step-00000000.123456.old").mkdir()
    run.save()
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-00000000"]


def test_a_log_of_ones_own_is_left_alone(settings: list[str], tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("mine\n")
    with pytest.raises(UserError, match=r"log\.jsonl"):
        load_run("copy", *settings, out=tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == "mine\n"


def test_a_recipe_of_ones_own_keeps_its_comments(settings: list[str], tmp_path: Path) -> None:
    load_run("copy", *settings, out=tmp_path / "first")
    text = "# mine\n" + (tmp_path / "first" / "recipe.toml").read_text()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "recipe.toml").write_text(text)
    load_run(tmp_path / "second" / "recipe.toml", out=tmp_path / "second")
    assert (tmp_path / "second" / "recipe.toml").read_text() == text


def test_asking_a_run_to_stop_saves_after_the_step_at_hand(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    for step in fit(run):
        run.stop_requested = step.index == 5
    assert run.state.step == 5 and not run.state.finished
    assert load_run("copy", *settings, out=tmp_path).state.step == 5


def test_a_run_that_is_finished_stays_as_it_is(settings: list[str], tmp_path: Path) -> None:
    trained(load_run("copy", *settings, out=tmp_path))
    before = (tmp_path / "model.safetensors").read_bytes()
    assert trained(load_run("copy", *settings, out=tmp_path)) == []
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_damaged_state_is_said_and_the_one_before_it_is_used(settings: list[str], tmp_path: Path) -> None:
    trained(load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path), steps=10)
    newest = sorted((tmp_path / "state").glob("step-*"))[-1]
    data = bytearray((newest / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "tensors.safetensors").write_bytes(data)
    run = load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path)
    assert run.state.step == 9
    assert any("checksum" in note for note in run.notes)
    for path in (tmp_path / "state").glob("step-*"):
        (path / "state.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_run("copy", *settings, out=tmp_path)


def test_a_folder_with_a_run_of_other_settings_is_refused(settings: list[str], tmp_path: Path) -> None:
    trained(load_run("copy", *settings, out=tmp_path), steps=1)
    with pytest.raises(ConfigError, match=r"train\.lr"):
        load_run("copy", *settings, "train.lr=0.1", out=tmp_path)
    assert load_run("copy", *settings, "train.max_steps=25", out=tmp_path).settings.max_steps == 25


def kill_and_resume(settings: list[str], folder: Path, kills: int, seed: int) -> list[int]:
    """Run to the end while killing the process at random moments, first before the corpus is prepared, then while it
    trains; returns the steps saved at each kill.
    """
    generator = random.Random(seed)
    command = [sys.executable, "-m", "sightline", "train", "copy", *settings, "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    saved = []
    while True:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        if len(saved) < kills:
            if len(saved) < kills // 2 and not (folder / "data").exists():
                while not folder.exists() and process.poll() is None:
                    time.sleep(0.01)
            else:
                for line in process.stdout:
                    if line.startswith("Training"):
                        break
            time.sleep(generator.random() * 0.6)
            process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0]
        if process.returncode == 0:
            return saved
        assert process.returncode == -signal.SIGKILL, rest
        states = sorted((folder / "state").glob("step-*"))
        saved.append(int(states[-1].name[5:]) if states else 0)


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("kills", [1, 20])
def test_killed_at_random_moments_also_while_saving_the_result_is_the_same(
    kills: int, settings: list[str], tmp_path: Path
) -> None:
    settings = [*settings, "train.save_minutes=0.00001"]  # saves after every step, so most kills meet one
    if kills > 2:
        settings += ["train.max_steps=300", "train.validate_every=50"]
    trained(load_run("copy", *settings, out=tmp_path / "whole"))
    saved = kill_and_resume(settings, tmp_path / "killed", kills, seed=kills)
    print(f"killed {len(saved)} times, with these steps saved: {saved}")
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_what_is_chosen_for_the_machine_is_saved_before_the_first_step_ends(
    settings: list[str], tmp_path: Path
) -> None:
    steps = fit(load_run("copy", *settings, out=tmp_path))
    next(steps)
    chosen = json.loads((tmp_path / "state" / "step-00000000" / "state.json").read_text())["run"]
    assert (chosen["precision"], chosen["threads"], chosen["batch_tokens"]) == ("fp32", 1, 400)
    with pytest.raises(UserError, match="being trained in this folder"):
        load_run("copy", *settings, out=tmp_path)
    steps.close()
    assert load_run("copy", *settings, out=tmp_path).state.step == 1


def test_a_state_of_an_earlier_version_says_so(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    assert run.ema is not None
    tensors = {f"model.{name}": p.detach() for name, p in run.model.named_parameters()}
    tensors |= {f"ema.{name}": tensor for name, tensor in run.ema.tensors.items()}
    with pytest.raises(UserError, match="begun by an earlier version"):
        run.restore(tensors)
