"""The real command line, called in this process so that a hundred calls take seconds."""

import io
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig, load_bundle, save_bundle
from sightline.cli.main import main
from sightline.decoding.settings import DecodingSettings
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig


@dataclass
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str


Sightline = Callable[..., Result]
TINY = [
    "model.d_model=16",
    "model.d_ff=16",
    "model.max_len=32",
    "model.n_encoder_layers=1",
    "model.n_decoder_layers=1",
    "train.batch_tokens=200",
    "train.max_steps=4",
    "train.validate_every=2",
    "train.max_validated=5",
    "train.threads=1",
    "train.precision=fp32",
    "train.tensorboard=false",
    "train.samples=1",
    "decoding.max_len_ratio=1",
    "decoding.max_len_extra=2",
]
"""Settings that make a run of a second or two."""
HELD = ["data.hold_out_valid=10", "data.hold_out_test=10"]


@pytest.fixture
def tiny() -> list[str]:
    """Settings that make a run of a second or two."""
    return TINY


def call(*arguments: object, stdin: bytes = b"") -> Result:
    """Run `sightline` with these arguments."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO(stdin)), out, err
    try:
        main([str(argument) for argument in arguments])
        raise AssertionError("main returned without an exit status")
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    texts = []
    for stream in (out, err):
        stream.seek(0)
        texts.append(stream.read())
    return Result(status, *texts)


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test works in an empty folder of its own, without measuring the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("sightline.training.rate.training_rate", lambda *_, **__: 2000.0)


@pytest.fixture
def sightline() -> Sightline:
    """Calls the command line: `sightline("translate", "Hello", "--model", folder)`."""
    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe `copy`, four steps long. Not to be changed: see `run`."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    result = call("train", "copy", *TINY, *HELD, "--out", folder)
    assert result.status == 0, result.err
    return folder


@pytest.fixture(scope="session")
def recurrent(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A recurrent model of random weights with some attention, as a bundle: `recurrent("additive")`."""
    tokenizer = load_bundle(trained).tokenizer

    def made(attention: str) -> Path:
        folder = tmp_path_factory.mktemp("recurrent") / "model"
        config = RecurrentConfig(d_model=16, max_len=32, attention=attention)
        torch.manual_seed(1)
        model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size)
        decoding = DecodingSettings(max_len_ratio=1.0, max_len_extra=2)
        save_bundle(folder, Bundle(BundleConfig(model=config, decoding=decoding), model, tokenizer, "card"))
        return folder

    return made


@pytest.fixture(scope="session")
def recurrent_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recurrent run on the sentences of `trained`. Not to be changed."""
    folder = tmp_path_factory.mktemp("recurrent") / "gru"
    settings = [each for each in TINY if not each.startswith("model.")]
    model = 'model={ kind = "recurrent", d_model = 16, max_len = 32 }'
    result = call("train", "copy", *settings, *HELD, model, "--out", folder)
    assert result.status == 0, result.err
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of `trained`, to be damaged at will."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def sentences() -> list[tuple[str, str]]:
    """300 made pairs: words of one vocabulary, and the same words in another, backwards."""
    generator = random.Random(1)
    made = [("".join(generator.choice(letters) for letters in ("bdk", "aei", "lmn", "ou"))) for _ in range(40)]
    words = sorted(set(made))
    pairs: dict[str, str] = {}
    while len(pairs) < 300:
        chosen = [generator.choice(words) for _ in range(generator.randint(3, 8))]
        pairs[" ".join(chosen)] = " ".join(f"x{word[::-1]}" for word in reversed(chosen))
    return list(pairs.items())


@pytest.fixture
def tsv(sentences: list[tuple[str, str]], tmp_path: Path) -> Path:
    """`sentences` as a file of two columns."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"{src}\t{tgt}\n" for src, tgt in sentences), encoding="utf-8")
    return path
