"""Finished runs and systems, a second each, for everything that compares."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.lab.experiment import Contender, Scale
from sightline.lab.measured import Measured
from sightline.lab.parts import Said
from sightline.lab.system import FinishedRun, System, systems_of
from sightline.training.loop import fit
from sightline.training.start import load_run

TINY = (
    "data.hold_out_valid=10",
    "data.hold_out_test=12",
    "train.batch_tokens=200",
    "train.max_steps=4",
    "train.validate_every=2",
    "train.max_validated=5",
    "train.threads=1",
    "train.precision=fp32",
    "train.tensorboard=false",
    "train.samples=0",
    "decoding.max_len_ratio=1",
    "decoding.max_len_extra=2",
    "decoding.beam=1",
)
"""A run of a second."""
TRANSFORMER = "{ d_model = 32, n_heads = 2, d_ff = 64, n_encoder_layers = 1, n_decoder_layers = 1, max_len = 48 }"
GRU = '{ kind = "recurrent", d_model = 32, max_len = 48 }'


def _train(folder: Path, *settings: str) -> Path:
    """A run of the recipe `copy`, four steps long."""
    for _ in fit(load_run("copy", *TINY, *settings, out=folder)):
        pass
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A Transformer with two seeds, and a recurrent model. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        _train(folder / "one", f"model={TRANSFORMER}"),
        _train(folder / "gru", f"model={GRU}"),
        _train(folder / "two", f"model={TRANSFORMER}", "train.seed=2"),
    ]


@pytest.fixture(scope="session")
def systems(runs: list[Path]) -> list[System]:
    """The two systems of `runs`."""
    return systems_of(runs)


@pytest.fixture
def contenders() -> list[Contender]:
    """A Transformer, and a recurrent model as large."""
    return [
        Contender("transformer", Said("Transformer", "Transformer"), TRANSFORMER, "", headline=True),
        Contender("gru", Said("GRU", "门控网络"), GRU, "d_state"),
    ]


@pytest.fixture
def scale() -> Scale:
    """Runs of a second, two of the Transformer, and no trials."""
    return Scale("copy", minutes=5.0, seeds=2, settings=TINY)


@pytest.fixture
def run(runs: list[Path]) -> FinishedRun:
    """One of `runs`."""
    return FinishedRun(runs[0])


@pytest.fixture(scope="session")
def other_split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with other test sentences than `runs`. Not to be changed."""
    return _train(tmp_path_factory.mktemp("runs") / "other", f"model={GRU}", "data.split_seed=2")


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measured]:
    """Makes what a run might be worth."""
    return _measured


def _measured(translations: list[str], bleu: float, **more: object) -> Measured:
    given: dict[str, object] = {
        "seed": 1,
        "signature": "nrefs:1|tok:none",
        "chrf": 50.0,
        "parameters": 1000,
        "flops": 2e6,
        "tokens_per_second": 900.0,
        "minutes": 1.0,
        "tokens": 10_000,
        "precision": "fp32",
        "threads": 1,
        "curve": [],
    }
    return Measured(translations=translations, bleu=bleu, **{**given, **more})  # pyright: ignore[reportArgumentType]
