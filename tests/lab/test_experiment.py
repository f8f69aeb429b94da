import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sightline.errors import ConfigError
from sightline.lab.experiment import (
    CLOSE,
    NEVER,
    Contender,
    Experiment,
    Job,
    Scale,
    Stopped,
    Trial,
    chosen,
    just_train,
    with_parameters,
)
from sightline.lab.size import counted
from sightline.lab.system import FinishedRun
from sightline.lab.why_attention import FULL, QUICK
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, ModelConfig, RecurrentConfig, TransformerConfig
from sightline.training.diagnose import NonFiniteError
from sightline.training.loop import fit
from sightline.training.run import Run


def size(experiment: Experiment, contender: Contender) -> int:
    recipe = experiment.recipe(contender)
    vocab = recipe.tokenizer.vocab_size
    return counted(build_model(recipe.model, vocab, vocab))


def test_all_have_the_same_number_of_parameters(contenders: list[Contender], scale: Scale, tmp_path: Path):
    experiment = Experiment(contenders, scale, tmp_path)
    sizes = [size(experiment, each) for each in contenders]
    assert sizes[0] == experiment.size
    assert all(abs(each / sizes[0] - 1) <= CLOSE for each in sizes)


@pytest.mark.parametrize(
    ("model", "width"), [(RecurrentConfig(cell="lstm", n_heads=2), "d_state"), (ConvolutionalConfig(), "d_model")]
)
def test_a_width_is_found_for_any_family_and_number(model, width: str):
    for wanted in (300_000, 2_000_000):
        found = with_parameters(model, width, 500, wanted)
        assert abs(counted(build_model(found, 500, 500)) / wanted - 1) <= CLOSE
        assert getattr(found, width) % found.n_heads == 0


@pytest.mark.parametrize("model", [ConvolutionalConfig(), TransformerConfig(position="learned")])
def test_positions_that_no_sentence_reaches_make_no_model_larger(model: ModelConfig):
    short, long = (
        counted(build_model(model.model_copy(update={"max_len": most, "d_model": 64}), 50, 50)) for most in (40, 1024)
    )
    assert short == long


def test_a_number_of_parameters_that_no_width_gives_is_refused():
    with pytest.raises(ConfigError, match=r"No model.d_state gives the recurrent model 100 parameters"):
        with_parameters(RecurrentConfig(d_model=8), "d_state", 50, 100)


def test_what_is_trained_is_not_trained_again(contenders: list[Contender], scale: Scale, tmp_path: Path):
    trained: list[str] = []

    def train(run: Run, job: Job, number: int, count: int) -> None:
        trained.append(f"{number}/{count} {job}")
        just_train(run, job, number, count)

    systems = Experiment(contenders, scale, tmp_path).carry_out(train)
    assert trained == ["1/3 transformer, seed 1", "2/3 transformer, seed 2", "3/3 gru, seed 1"]
    assert [(each.key, len(each.runs)) for each in systems] == [("transformer", 2), ("gru", 1)]
    weights = [run.weights for each in systems for run in each.runs]
    again = Experiment(contenders, scale, tmp_path).carry_out(train)
    assert len(trained) == 3
    assert [run.weights for each in again for run in each.runs] == weights
    more = Experiment(contenders, replace(scale, seeds=3), tmp_path).carry_out(train)
    assert trained[3:] == ["3/4 transformer, seed 3"] and len(more[0].runs) == 3


def test_another_recipe_in_the_folder_is_noticed(contenders: list[Contender], scale: Scale, tmp_path: Path):
    only = contenders[:1]
    Experiment(only, replace(scale, seeds=1), tmp_path).carry_out()
    for settings, changes, said in (
        (["train.lr=0.01"], {}, "train.lr differ"),
        ([], {"settings": (*scale.settings, "train.max_steps=5")}, "train.max_steps was 4 and is now 5"),
        ([], {"minutes": 6.0}, "train.max_minutes was 5.0 and is now 6.0"),
    ):
        with pytest.raises(ConfigError, match=said):
            Experiment(only, replace(scale, seeds=1, **changes), tmp_path, settings).carry_out()


@pytest.mark.parametrize("scale", [QUICK, FULL, replace(QUICK, settings=("train.patience=1",))])
def test_minutes_end_every_training_and_nothing_else(contenders: list[Contender], scale: Scale, tmp_path: Path):
    experiment = Experiment(contenders, scale, tmp_path)
    for contender in contenders:
        train = experiment.recipe(contender).train
        assert (train.max_minutes, train.max_steps, train.patience) == (scale.minutes, NEVER, None)


@pytest.mark.parametrize("given", ["train.max_steps=500", "train.max_minutes=3.0", "train.patience=2"])
def test_another_end_of_training_is_refused(contenders: list[Contender], scale: Scale, tmp_path: Path, given: str):
    with pytest.raises(ConfigError, match=rf"{given}: all systems train for the same minutes.*--minutes"):
        Experiment(contenders, scale, tmp_path, [given])


def test_a_training_that_was_stopped_goes_on(contenders: list[Contender], scale: Scale, tmp_path: Path):
    def stop(run: Run, job: Job, number: int, count: int) -> None:
        for step in fit(run):
            run.stop_requested = step.index == 2

    only = replace(scale, seeds=1)
    with pytest.raises(Stopped, match="saved at step 2 of transformer, seed 1"):
        Experiment(contenders[:1], only, tmp_path).carry_out(stop)
    [system] = Experiment(contenders[:1], only, tmp_path).carry_out()
    assert system.runs[0].state.step == 4


def test_a_training_whose_end_is_lost_from_the_record_ends_once_more(
    contenders: list[Contender], scale: Scale, tmp_path: Path
):
    only = Experiment(contenders[:1], replace(scale, seeds=1), tmp_path)
    [system] = only.carry_out()
    log = system.runs[0].folder / "log.jsonl"
    log.write_text(log.read_text()[:-20])
    [again] = only.carry_out()
    assert again.runs[0].weights == system.runs[0].weights and again.runs[0].state.step == 4


def test_each_is_tuned_by_as_many_trials_and_the_least_loss_is_taken(
    contenders: list[Contender], scale: Scale, tmp_path: Path
):
    tuned = replace(scale, seeds=1, rates=(0.01, 1.0), trial_minutes=5.0)
    experiment = Experiment(contenders, tuned, tmp_path)
    assert experiment.count() == 2 + 2 * 2
    systems = experiment.carry_out()
    for (contender, tried), system in zip(experiment.tried(), systems, strict=True):
        assert [trial.lr for trial in tried] == pytest.approx([0.00003, 0.003])
        runs = [FinishedRun(job.folder) for job in experiment.trials(contender)]
        assert [trial.loss for trial in tried] == [run.best_loss() for run in runs]
        best = min(tried, key=lambda trial: trial.loss).lr
        assert system.recipe.train.lr == best == experiment.chosen_rate(contender, tried)
        assert all(run.recipe.train.seed == system.recipe.train.seed for run in runs)


def test_a_trial_that_diverges_loses_and_is_not_repeated(contenders: list[Contender], scale: Scale, tmp_path: Path):
    trained: list[str] = []

    def train(run: Run, job: Job, number: int, count: int) -> None:
        trained.append(str(job))
        just_train(run, job, number, count)

    experiment = Experiment(contenders[:1], replace(scale, seeds=1, rates=(1e30, 1.0), trial_minutes=5.0), tmp_path)
    for _ in range(2):
        [system] = experiment.carry_out(train)
        assert system.recipe.train.lr == 0.003
        assert trained == [
            f"transformer, {what}" for what in ("trial with train.lr=3e+27", "trial with train.lr=0.003", "seed 1")
        ]
    [(_, tried)] = experiment.tried()
    assert tried[0].loss == math.inf and math.isfinite(tried[1].loss)
    assert "not finite at step" in (tmp_path / "trials" / "transformer-1" / "diverged.txt").read_text()
    changed = Experiment(contenders[:1], experiment.scale, tmp_path, ["train.clip=0.5"])
    with pytest.raises(ConfigError, match=r"train\.clip differ"):
        changed.carry_out(train)


def test_a_run_that_counts_may_not_diverge(contenders: list[Contender], scale: Scale, tmp_path: Path):
    with pytest.raises(NonFiniteError):
        Experiment(contenders[:1], replace(scale, seeds=1), tmp_path, ["train.lr=3e27"]).carry_out()


def test_a_loss_that_is_no_number_never_wins(contenders: list[Contender], scale: Scale, tmp_path: Path):
    experiment = Experiment(contenders, scale, tmp_path)
    assert experiment.chosen_rate(contenders[0], [Trial(0.1, math.inf), Trial(0.2, 9.0)]) == 0.2
    with pytest.raises(ConfigError, match=r"All trials of gru diverged \(train.lr=0.1, 0.2\)"):
        experiment.chosen_rate(contenders[1], [Trial(0.1, math.inf), Trial(0.2, math.inf)])


def test_the_runs_share_one_corpus(contenders: list[Contender], scale: Scale, tmp_path: Path):
    systems = Experiment(contenders, scale, tmp_path).carry_out()
    one, *others = [run.prepared for each in systems for run in each.runs]
    assert all(each.hashes["test.jsonl as used"] == one.hashes["test.jsonl as used"] for each in others)
    assert all(each.tokenizer.to_json() == one.tokenizer.to_json() for each in others)


def test_a_copy_of_the_corpus_that_is_interrupted_is_made_anew(
    contenders: list[Contender], scale: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(src: str, dst: str) -> None:
        shutil.copyfile(src, dst)
        raise KeyboardInterrupt

    copytree = partial(shutil.copytree, copy_function=interrupted)
    only = Experiment(contenders[:1], replace(scale, seeds=1), tmp_path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("sightline.lab.experiment.shutil.copytree", copytree)
        only.carry_out()
    assert not (tmp_path / "runs" / "transformer-1" / "data").exists()
    with pytest.raises(Stopped, match="step 0 of transformer"):
        only.carry_out(lambda *_: None)


def test_some_contenders_are_chosen_by_their_keys_and_the_one_they_follow_with_them(contenders: list[Contender]):
    assert [each.key for each in chosen(contenders, ["gru"])] == ["transformer", "gru"]
    assert [each.key for each in chosen(contenders, ["transformer"])] == ["transformer"]
    assert chosen(contenders, []) == contenders
    with pytest.raises(ConfigError, match=r"--only grub: there is no such system\. Did you mean 'gru'\?"):
        chosen(contenders, ["grub"])


def test_trials_want_a_learning_rate_to_start_from(contenders: list[Contender], scale: Scale, tmp_path: Path):
    tuned = replace(scale, recipe="wmt14-en-de", settings=(), rates=(1.0,), trial_minutes=1.0)
    with pytest.raises(ConfigError, match=r"give train\.lr=NUMBER"):
        Experiment(contenders, tuned, tmp_path, ["tokenizer.vocab_size=500"]).trials(contenders[0])
