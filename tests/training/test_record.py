import json
from pathlib import Path

import pytest

from sightline.training.loop import fit
from sightline.training.start import load_run


def test_a_run_draws_its_curves_and_draws_them_once_though_it_was_stopped(settings: list[str], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    settings = [s for s in settings if s != "train.tensorboard=false"]
    for limit in (10, 20):
        for step in fit(load_run("copy", *settings, out=tmp_path)):
            if step.index == limit:
                break
    curves = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    curves.Reload()
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = {record["step"]: record["loss"] for record in logged if record["event"] == "train"}
    drawn = curves.Scalars("train/loss")
    assert [point.step for point in drawn] == list(losses) == list(range(1, 21))
    assert [point.value for point in drawn] == pytest.approx(list(losses.values()))
    assert [point.step for point in curves.Scalars("valid/bleu")] == [8, 16]
