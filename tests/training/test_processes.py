"""Two processes beside one that takes both their batches in a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sightline.errors import ConfigError
from sightline.training.loop import fit
from sightline.training.start import load_run

TRAIN = """
import json, sys
from sightline.training.loop import fit
from sightline.training.start import load_run
folder, *settings = sys.argv[1:]
run = load_run("copy", *settings, out=folder)
steps = [[step.index, step.loss, step.grad_norm, step.tokens, step.lr] for step in fit(run)]
with open(f"{folder}/steps.{run.processes.rank}.json", "w") as file:
    file.write(json.dumps(steps))
run.processes.leave()
"""
EXACT = ["model.residual_dropout=0", "model.attention_dropout=0", "model.embedding_dropout=0", "train.precision=fp32"]


def two_processes(folder: Path, settings: list[str]) -> subprocess.CompletedProcess[str]:
    script = folder.parent / "train_it.py"
    script.write_text(TRAIN, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
        str(folder),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *settings], env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def steps_of(folder: Path, rank: int) -> list[list[float]]:
    return json.loads((folder / f"steps.{rank}.json").read_text(encoding="utf-8"))


def test_two_processes_train_as_one_with_the_batches_of_both(settings: list[str], tmp_path: Path) -> None:
    done = two_processes(tmp_path / "two", [*settings, *EXACT, "train.accumulate=1"])
    assert done.returncode == 0, done.stderr[-2000:]
    one = [
        [step.index, step.loss, step.grad_norm, step.tokens, step.lr]
        for step in fit(load_run("copy", *settings, *EXACT, "train.accumulate=2", out=tmp_path / "one"))
    ]
    assert steps_of(tmp_path / "two", 0) == steps_of(tmp_path / "two", 1)
    two = steps_of(tmp_path / "two", 0)
    assert [row[3] for row in two] == [row[3] for row in one] and len(two) == 20
    for found, wanted in zip(two, one, strict=True):
        assert found[1] == pytest.approx(wanted[1], rel=1e-5)
    assert two[0][2] == pytest.approx(one[0][2], rel=1e-6)
    assert two[-1][2] == pytest.approx(one[-1][2], rel=1e-3)
    states = [max((tmp_path / name / "state").iterdir()) / "tensors.safetensors" for name in ("two", "one")]
    for name, tensor in load_file(states[1]).items():
        if name.startswith("model."):
            torch.testing.assert_close(load_file(states[0])[name], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_with_dropout_go_on_exactly_and_only_as_two(settings: list[str], tmp_path: Path) -> None:
    whole = two_processes(tmp_path / "whole", settings)
    first = two_processes(tmp_path / "parts", [*settings, "train.max_steps=10"])
    again = two_processes(tmp_path / "parts", settings)
    assert [whole.returncode, first.returncode, again.returncode] == [0, 0, 0], again.stderr[-2000:]
    states = [
        load_file(max((tmp_path / name / "state").iterdir()) / "tensors.safetensors") for name in ("whole", "parts")
    ]
    assert {name for name in states[0] if "random" in name} == {"random.cpu.0", "random.cpu.1"}
    assert not torch.equal(states[0]["random.cpu.0"], states[0]["random.cpu.1"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    with pytest.raises(ConfigError, match="begun with 2 processes, and now there are 1"):
        load_run("copy", *settings, "train.max_steps=30", out=tmp_path / "whole")
