"""The rules of an experiment."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sightline.lab.experiment import Contender, Experiment, Scale, Trial
from sightline.lab.measured import Measured, Outcome
from sightline.lab.parts import Said, Table
from sightline.lab.sections.budget import budget
from sightline.lab.size import counted
from sightline.lab.system import FinishedRun, System


@pytest.fixture
def outcomes(runs: list[Path], measured: Callable[..., Measured]) -> list[Outcome]:
    """A Transformer, and a recurrent model that is not as large."""
    named = (("gru", runs[1]), ("transformer", runs[0]))
    return [Outcome(System(key, Said(key, key), [FinishedRun(run)]), [measured(["1"], 1.0)]) for key, run in named]


def test_sizes_are_the_same_only_where_they_are(
    contenders: list[Contender], scale: Scale, outcomes: list[Outcome], tmp_path: Path
):
    experiment = Experiment(contenders, scale, tmp_path)
    recurrent, transformer = (counted(each.system.bundle.model) for each in outcomes)
    said = budget(experiment, outcomes).text[1]
    assert f"do not have the same number of parameters: {min(recurrent, transformer):,} to" in said.en
    assert f"{abs(recurrent / transformer - 1):.1%} from the Transformer" in said.en and "参数量并不相同" in said.zh
    said = budget(experiment, outcomes[1:]).text[1]
    assert f"have the same number of parameters: {transformer:,} to {transformer:,}, at most 0.0%" in said.en
    assert "learned positions are not counted" in said.en and "参数量也相同" in said.zh and "位置表不计在内" in said.zh


def test_a_trial_that_diverged_is_shown_as_such(
    contenders: list[Contender],
    scale: Scale,
    outcomes: list[Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    experiment = Experiment(contenders, replace(scale, rates=(1.0, 2.0), trial_minutes=1.0), tmp_path)
    trials = [Trial(0.003, 1.25), Trial(0.006, float("inf"))]
    monkeypatch.setattr(experiment, "tried", lambda: iter([(contenders[1], trials)]))
    table = budget(experiment, outcomes).parts[0]
    assert isinstance(table, Table)
    assert [row[1:] for row in table.rows] == [
        ["0.003", "1.250", Said("taken", "选中")],
        ["0.006", Said("diverged", "发散"), Said("", "")],
    ]
