import json
import math
import shutil
from pathlib import Path

import pytest

from sightline.data.evaluation import Example, save_examples
from sightline.errors import ConfigError, UserError
from sightline.lab.measured import common_test_set
from sightline.lab.system import FinishedRun, System, systems_of


def test_runs_that_differ_in_their_seeds_only_are_one_system(runs: list[Path]):
    systems = systems_of(runs)
    assert [(each.name.en, [run.recipe.train.seed for run in each.runs]) for each in systems] == [
        ("one", [1, 2]),
        ("gru", [1]),
    ]
    assert [each.is_transformer for each in systems] == [True, False]


def test_systems_of_one_name_are_told_apart_by_their_folders(runs: list[Path], tmp_path: Path):
    other = Path(shutil.copytree(runs[1], tmp_path / "one"))
    assert [each.name.en for each in systems_of([runs[0], other])] == [str(runs[0]), str(other)]


def test_a_comparison_wants_two_runs_each_once(runs: list[Path]):
    for given, said in ((runs[:1], "two runs or more"), ([runs[0], runs[0]], "given twice")):
        with pytest.raises(ConfigError, match=said):
            systems_of(given)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, runs: list[Path]):
    with pytest.raises(ConfigError, match="is not the folder of a run"):
        systems_of([tmp_path, runs[0]])


def test_a_run_that_is_not_finished_is_named_with_the_command_that_goes_on(runs: list[Path], tmp_path: Path):
    folder = Path(shutil.copytree(runs[0], tmp_path / "run"))
    log = folder / "log.jsonl"
    log.write_text("\n".join(log.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=rf"not finished \(it is at step 4\).*sightline train {folder}"):
        FinishedRun(folder)
    log.unlink()
    with pytest.raises(UserError, match="not finished,"):
        FinishedRun(folder)


@pytest.mark.parametrize("torn", [b'{"event": "fini', b"", b"\x00" * 40, b'{"chosen": "\xe4', b"7", b'{"step": 4}'])
def test_a_last_line_that_is_no_event_means_that_the_run_is_not_finished(runs: list[Path], tmp_path: Path, torn: bytes):
    folder = Path(shutil.copytree(runs[0], tmp_path / "run"))
    log = folder / "log.jsonl"
    log.write_bytes(b"\n".join([*log.read_bytes().splitlines()[:-1], torn]))
    assert not FinishedRun.is_finished(folder)
    with pytest.raises(UserError, match=r"not finished \(it is at step 4\)"):
        FinishedRun(folder)


@pytest.mark.parametrize("line", ["{", "7", '{"step": 4}'])
def test_a_line_in_between_that_is_no_event_is_named(runs: list[Path], tmp_path: Path, line: str):
    folder = Path(shutil.copytree(runs[0], tmp_path / "run"))
    log = folder / "log.jsonl"
    first, *others = log.read_text().splitlines()
    log.write_text("\n".join([first, line, *others]))
    with pytest.raises(UserError, match=r"log\.jsonl line 2 is damaged"):
        FinishedRun(folder)


def test_the_curve_says_when_each_validation_was_and_after_how_many_tokens(run: FinishedRun):
    curve = run.curve()
    assert len(curve) == 2
    record = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
    assert [point.loss for point in curve] == [each["loss"] for each in record if each["event"] == "valid"]
    assert 0 < curve[0].tokens < curve[1].tokens == run.state.tokens
    assert 0 <= curve[0].seconds <= curve[1].seconds <= run.state.seconds + 0.1
    assert run.best_loss() == min(point.loss for point in curve)
    rates = sorted(each["tokens_per_second"] for each in record if each["event"] == "train")
    assert rates[0] <= run.tokens_per_second() <= rates[-1]


def test_a_validation_loss_that_is_no_number_is_not_the_least(run: FinishedRun, tmp_path: Path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    log = folder / "log.jsonl"
    first, last = (point.loss for point in run.curve())
    log.write_text(log.read_text().replace(f'"loss": {first}', '"loss": NaN'))
    assert FinishedRun(folder).best_loss() == last
    log.write_text(log.read_text().replace(f'"loss": {last}', '"loss": Infinity'))
    assert FinishedRun(folder).best_loss() == math.inf


def test_how_long_a_run_was_trained_is_known_without_its_tensors(run: FinishedRun, tmp_path: Path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    for path in folder.glob("state/*/tensors.safetensors"):
        path.unlink()
    assert FinishedRun(folder).state == run.state and run.state.step == 4
    shutil.rmtree(folder / "state")
    with pytest.raises(UserError, match=r"no folder `state` that can be read.*copy that too"):
        _ = FinishedRun(folder).state


def test_a_run_knows_its_test_sentences_and_says_where_there_are_none(run: FinishedRun):
    assert len(run.test(None)) == 12
    with pytest.raises(ConfigError, match="no test sentences into xx"):
        run.test("xx")


def test_one_of_several_directions_is_chosen_by_its_languages(run: FinishedRun, tmp_path: Path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    ways = (("de", "en"), ("fr", "en"), ("en", "de"))
    save_examples(folder / "data" / "test.jsonl", [Example(f"a {src}", ("b",), tgt, src) for src, tgt in ways])
    several = FinishedRun(folder)
    assert [each.src for each in several.test("fr-en")] == ["a fr"] and [each.src for each in several.test("de")] == [
        "a en"
    ]
    for to, said in (
        ("en", "translates de-en, fr-en: choose one of them with --to"),
        (None, "translates de-en, en-de, fr-en: choose"),
        ("zh-en", r"no test sentences into zh-en: .* Directions: de-en, en-de, fr-en\."),
    ):
        with pytest.raises(ConfigError, match=said):
            several.test(to)
    assert common_test_set([several], "fr-en").lang == "en"


def test_a_copy_of_a_run_is_no_second_run(runs: list[Path], tmp_path: Path):
    copy = Path(shutil.copytree(runs[0], tmp_path / "copy"))
    with pytest.raises(ConfigError, match=f"{runs[0]} and {copy} have the same weights"):
        systems_of([runs[0], runs[1], copy])


def test_the_first_run_stands_for_its_system(systems: list[System]):
    assert systems[0].recipe.train.seed == 1
    assert systems[0].bundle is systems[0].runs[0].bundle
