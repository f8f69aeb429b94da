"""The scripts in examples/ run, as somebody would start them."""

import subprocess
import sys
from pathlib import Path

import pytest

import sightline as sl

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run = sl.load_run("copy", "train.validate_every=1", "train.max_validated=4", "train.threads=1", out=folder)
    next(iter(sl.fit(run)))
    return folder


def run(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_training_from_python_runs(tmp_path: Path):
    assert "1 2 3 ->" in run("train_from_python.py", "5", cwd=tmp_path)


def test_a_core_of_ones_own_trains(tmp_path: Path):
    out = run("own_attention.py", "2", cwd=tmp_path)
    assert "{'Sharp'}" in out
    assert "step 2  loss" in out


def test_a_trained_folder_translates(trained: Path, tmp_path: Path):
    out = run("translate.py", str(trained), "1 2 3", cwd=tmp_path)
    assert out.startswith("1 2 3 -> ")
    assert len(out.splitlines()) == 5


def test_every_example_is_run_here():
    mine = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{path.name}"' in mine for path in EXAMPLES.glob("*.py"))
