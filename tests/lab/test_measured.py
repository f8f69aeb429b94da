import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from sightline.errors import ConfigError
from sightline.lab.measured import Results, common_test_set, measure
from sightline.lab.parts import Said
from sightline.lab.system import FinishedRun, System


def test_what_is_measured_is_what_training_scored_at_its_end(run: FinishedRun):
    found = measure(run, common_test_set([run]))
    said = json.loads((run.folder / "test.json").read_text())
    assert (found.bleu, found.chrf, found.signature) == (said["bleu"], said["chrf"], said["bleu_signature"])
    assert len(found.translations) == 12
    assert found.parameters == sum(p.numel() for p in run.bundle.model.parameters())
    assert found.flops > 2 * 100 * 32  # the output layer alone
    assert (found.precision, found.threads, found.tokens) == ("fp32", 1, run.state.tokens)


def test_different_test_sets_are_refused_and_told(run: FinishedRun, other_split: Path):
    other = FinishedRun(other_split)
    with pytest.raises(
        ConfigError, match=f"{run.folder} and {other.folder} have different test sets: 12 and 12 sentences"
    ):
        common_test_set([run, other])


def test_different_ways_of_scoring_are_refused(run: FinishedRun, tmp_path: Path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('tokenize = "none"', 'tokenize = "13a"'))
    with pytest.raises(ConfigError, match="scored differently"):
        common_test_set([run, FinishedRun(folder)])


def test_two_runs_with_the_same_seed_have_their_own_results(run: FinishedRun, runs: list[Path], tmp_path: Path):
    folder = Path(shutil.copytree(runs[2], tmp_path / "run"))  # trained with seed 2, as on another day
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("seed = 2", "seed = 1"))
    system = System("one", Said("one", "one"), [run, FinishedRun(folder)])
    results = Results(tmp_path / "results", common_test_set(system.runs))
    found = [results.of(system, each) for each in system.runs]
    assert found[0].seed == found[1].seed == 1
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_results_are_kept_until_weights_or_test_set_are_others(
    systems: list[System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    system, times = systems[1], []

    def counted(run, test):
        times.append(run)
        return measure(run, test)

    monkeypatch.setattr("sightline.lab.measured.measure", counted)
    test = common_test_set(system.runs)
    results = Results(tmp_path, test)
    first = results.of(system, system.runs[0])
    assert asdict(results.of(system, system.runs[0])) == asdict(first) and len(times) == 1
    [kept] = tmp_path.iterdir()
    kept.write_text(kept.read_text().replace(system.runs[0].weights, "0" * 64))
    assert results.of(system, system.runs[0]) == first and len(times) == 2
    kept.write_text("{")
    assert results.of(system, system.runs[0]) == first and len(times) == 3
    fewer = Results(tmp_path, type(test)(test.examples[:5], test.metric, test.lang))
    assert len(fewer.of(system, system.runs[0]).translations) == 5 and len(times) == 4
