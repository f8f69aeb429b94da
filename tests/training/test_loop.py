import itertools
import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sightline.bundle import load_bundle
from sightline.data.batches import collate
from sightline.decoding.hypothesis import Hypothesis
from sightline.decoding.settings import DecodingSettings
from sightline.errors import BundleError, UserError
from sightline.tasks import translation
from sightline.tasks.search import Translated
from sightline.training.diagnose import NonFiniteError
from sightline.training.loop import fit
from sightline.training.optim import Ema, average
from sightline.training.recipe import read_recipe
from sightline.training.schedule import SCHEDULES, paper_peak
from sightline.training.start import load_run


def test_a_loop_of_ones_own_sees_every_step(settings: list[str], tmp_path: Path) -> None:
    seen = []
    for step in fit(load_run("copy", *settings, out=tmp_path)):
        seen.append(step.index)
        assert (
            math.isfinite(step.loss)
            and step.tokens > 0
            and step.lr > 0
            and step.grad_norm > 0
            and 0 <= step.padding < 1
        )
        assert bool(step.validation) == (step.index % 8 == 0)
    assert seen == list(range(1, 21))


def test_the_end_of_a_run_is_a_bundle_with_scores_and_a_log(settings: list[str], tmp_path: Path) -> None:
    for _ in fit(load_run("copy", *settings, out=tmp_path)):
        pass
    bundle = load_bundle(tmp_path)
    command = shlex.split(bundle.card.split("```")[1])
    assert command[:3] == ["sightline", "train", "copy"]
    assert read_recipe("copy", command[3:]) == read_recipe("copy", settings)
    assert "BLEU" in bundle.card and "SHA-256" in bundle.card and "sightline train copy" in bundle.card
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [e["step"] for e in events if e["event"] == "train"] == list(range(1, 21))
    finished = events[-1]
    assert finished["event"] == "finished" and len(finished["candidates"]) == 2
    assert json.loads((tmp_path / "test.json").read_text(encoding="utf-8"))["n_sentences"] == 20


def test_validations_along_the_way_are_quick_and_the_final_one_is_as_the_recipe_says(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beams: list[int] = []

    def seen(model: object, tokenizer: object, texts: list[str], to: object, decoding: DecodingSettings, n: int) -> Any:
        beams.append(decoding.beam)
        return [[Translated("", 0.0, Hypothesis([], 0.0, 0.0, [], True))] for _ in texts]

    monkeypatch.setattr("sightline.tasks.translation.translate", seen)
    run = load_run("copy", *settings, "train.average=0", "train.validation_beam=2", "decoding.beam=3", out=tmp_path)
    for _ in fit(run):
        pass
    assert beams == [2, 2, 2, 3, 3]  # after 8, 16 and 20 steps; the final validation and the test


def test_the_loss_can_decide_and_weights_be_kept_in_bf16_and_nothing_be_shown_or_tested(
    settings: list[str], tmp_path: Path
) -> None:
    more = ("train.best_by=loss", "saved_precision=bf16", "train.samples=0", "data.hold_out_test=0")
    run = load_run("copy", *settings, *more, out=tmp_path)
    seen = [step for step in fit(run) if step.validation]
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    best = min((event for event in events if event["event"] == "valid"), key=lambda event: event["loss"])
    assert run.state.best_step == best["step"] and run.state.best == pytest.approx(-best["loss"])
    assert not any(step.samples for step in seen) and not list(tmp_path.glob("test*.json"))
    kept = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.bfloat16}


def test_accumulated_batches_are_one_large_batch(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = [*settings, "tokenizer.dropout=0.0", "model.embedding_dropout=0.0", "model.residual_dropout=0.0"]
    still += ["model.attention_dropout=0.0", "train.max_steps=1"]
    run = load_run("copy", *still, out=tmp_path / "two")
    [step] = fit(run)
    first, second = itertools.islice(run.task.batches("train", 0), 2)
    assert first.n_tgt != second.n_tgt and step.tokens == first.n_tgt + second.n_tgt
    pairs = [run.task.pairs.pair(int(i)) for batch in (first, second) for i in batch.index]
    tokenizer = run.task.tokenizer
    union = collate(pairs, np.concatenate([first.index, second.index]), tokenizer.pad_id, tokenizer.bos_id)
    other = load_run("copy", *still, "train.accumulate=1", out=tmp_path / "one")
    monkeypatch.setattr(other.task, "training_batches", lambda epoch, start: [lambda: union])
    [whole] = fit(other)
    assert whole.tokens == step.tokens
    assert whole.loss == pytest.approx(step.loss, rel=1e-6)
    assert whole.grad_norm == pytest.approx(step.grad_norm, rel=1e-5)
    for name, _ in run.model.named_parameters():  # after one step Adam's first moment is the gradient, times a constant
        gradient, joint = (r.optimizer.state[r.model.get_parameter(name)]["exp_avg"] for r in (run, other))
        torch.testing.assert_close(gradient, joint, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("dropout", [0.1, 0.4])
def test_batches_keep_their_budget_though_merges_are_dropped(
    settings: list[str], dropout: float, tmp_path: Path
) -> None:
    run = load_run("copy", *settings, f"tokenizer.dropout={dropout}", out=tmp_path)
    sizes = [max(batch.src.numel(), batch.tgt_in.numel()) for batch in run.task.batches("train", 0)]
    assert 250 < np.mean(sizes) < 420  # of a budget of 400


def test_dropped_merges_give_batches_of_like_lengths_that_can_be_entered_anywhere(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation, "SECTION", 150)
    task = load_run("copy", *settings, "tokenizer.dropout=0.4", out=tmp_path).task
    whole = list(task.batches("train", 1))
    assert len(whole) > 2 * task.section
    for start in (3, task.section, task.section + 5):
        for one, other in zip(whole[start:], task.batches("train", 1, start), strict=True):
            assert torch.equal(one.tgt_out, other.tgt_out) and np.array_equal(one.index, other.index)
    assert sorted(i for batch in whole for i in batch.index) == list(range(len(task.pairs)))
    assert np.mean([batch.padding for batch in whole]) < 0.15


def test_r_drop_trains_on_two_passes_that_agree_without_dropout(settings: list[str], tmp_path: Path) -> None:
    without = ["model.embedding_dropout=0", "model.residual_dropout=0", "model.attention_dropout=0"]
    plain = load_run("copy", *settings, *without, out=tmp_path / "plain")
    twice = load_run("copy", *settings, *without, "train.r_drop=5", out=tmp_path / "twice")
    assert next(fit(plain)).loss == pytest.approx(next(fit(twice)).loss, rel=1e-5)
    for (
        name,
        _,
    ) in plain.model.named_parameters():  # after one step Adam's first moment is the gradient, times a constant
        one, two = (run.optimizer.state[run.model.get_parameter(name)]["exp_avg"] for run in (plain, twice))
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)
    dropped = load_run("copy", *settings, "train.r_drop=5", out=tmp_path / "dropped")
    batch = next(iter(dropped.task.batches("train", 0)))
    dropped.model.train()
    torch.manual_seed(3)
    agreeing = dropped.task.loss(dropped.model, batch)
    dropped.task.r_drop = 1e-9
    torch.manual_seed(3)
    assert agreeing.count == batch.n_tgt and agreeing.total > dropped.task.loss(dropped.model, batch).total


def test_a_loss_that_is_not_finite_names_step_module_and_batch_and_keeps_the_good_state(
    settings: list[str], tmp_path: Path
) -> None:
    run = load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path)
    with pytest.raises(NonFiniteError) as error:
        for step in fit(run):
            if step.index == 3:
                with torch.no_grad():
                    run.model.get_parameter("decoder.1.ffn.up_proj.bias")[0] = math.nan
    message = str(error.value)
    assert "step 4" in message and "decoder.1.ffn.up_proj.bias" in message and "the first of them '" in message
    assert load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path).state.step == 3


def test_a_step_without_memory_says_what_to_do_and_keeps_the_good_state(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path)
    steps = fit(run)
    next(steps)

    def too_much(*_: object) -> None:
        torch.empty(1 << 62, dtype=torch.uint8)  # what torch says when there is none

    monkeypatch.setattr(run.task, "loss", too_much)
    with pytest.raises(
        UserError,
        match=r"memory for step 2, not even for one row of its batch at a time.*the first of them '.*data\.max_len",
    ):
        next(steps)
    assert load_run("copy", *settings, "train.save_minutes=0.00001", out=tmp_path).state.step == 1


def test_a_step_that_finds_no_memory_is_taken_in_pieces_and_so_are_those_after_it(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = [f"model.{place}_dropout=0" for place in ("embedding", "residual", "attention")]
    usual = [step.loss for step in fit(load_run("copy", *settings, *plain, out=tmp_path / "usual"))]
    run = load_run("copy", *settings, *plain, "train.max_steps=6", out=tmp_path / "pieces")
    loss, sizes = run.task.loss, list[int]()

    def up_to_fifteen_rows(model: torch.nn.Module, batch: Any) -> Any:
        sizes.append(len(batch.src))
        if run.model.training and len(batch.src) > 15:
            torch.empty(1 << 62, dtype=torch.uint8)  # what torch says when there is none
        return loss(model, batch)

    monkeypatch.setattr(run.task, "loss", up_to_fifteen_rows)
    steps = list(fit(run))
    assert max(sizes) > 15 and run.state.pieces > 1
    assert [step.loss for step in steps] == pytest.approx(usual[:6], rel=1e-5)
    noted = [step for step in steps if step.note]
    assert noted and f"step {noted[0].index}, which was taken in smaller pieces" in noted[0].note
    assert "smaller pieces" in (tmp_path / "pieces" / "log.jsonl").read_text()
    again = load_run("copy", *settings, *plain, "train.max_steps=20", out=tmp_path / "pieces")
    assert again.state.pieces == run.state.pieces
    assert [step.loss for step in fit(again)] == pytest.approx(usual[6:], rel=1e-4)


@pytest.mark.slow
def test_fp16_trains_as_float32_does_and_finds_its_scale(settings: list[str], tmp_path: Path) -> None:
    plain = [f"model.{place}_dropout=0" for place in ("embedding", "residual", "attention")]
    usual = [step.loss for step in fit(load_run("copy", *settings, *plain, out=tmp_path / "usual"))]
    run = load_run("copy", *settings, *plain, "train.precision=fp16", out=tmp_path / "half")
    assert run.state.loss_scale == 65536
    assert [step.loss for step in fit(run)] == pytest.approx(usual, rel=0.01)
    run = load_run("copy", *settings, *plain, "train.precision=fp16", out=tmp_path / "large")
    run.state.loss_scale = 2.0**32
    steps = list(fit(run))
    left_out = [step.index for step in steps if "too large for fp16" in step.note]
    assert left_out == list(range(1, len(left_out) + 1)) and 0 < len(left_out) < 20
    assert run.state.loss_scale == 2.0 ** (32 - len(left_out)) and all(
        p.isfinite().all() for p in run.model.parameters()
    )


def test_another_error_of_a_step_stays_what_it_is(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    monkeypatch.setattr(run.task, "loss", lambda *_: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        next(fit(run))


@pytest.mark.parametrize("damage", [b"no weights", None])
def test_a_damaged_snapshot_is_said_at_the_end(settings: list[str], tmp_path: Path, damage: bytes | None) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    with pytest.raises(BundleError, match=r"step-00000008\.safetensors is damaged or gone"):
        for step in fit(run):
            if step.index == 16:
                path = run.snapshot_path(8)
                path.unlink() if damage is None else path.write_bytes(damage)


def test_an_overflow_inside_the_model_is_found_where_it_begins(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    with torch.no_grad():
        run.model.get_parameter("encoder.1.ffn.down_proj.weight").fill_(3e38)
    with pytest.raises(NonFiniteError, match=r"that of encoder\.1\.ffn\.down_proj"):
        next(fit(run))


def test_an_overflow_is_found_in_bf16_too(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, "train.precision=bf16", out=tmp_path)
    with torch.no_grad():
        run.model.get_parameter("encoder.1.ffn.down_proj.weight").fill_(3e38)
    with pytest.raises(NonFiniteError, match=r"that of encoder\.1\.ffn\.down_proj"):
        next(fit(run))


def test_a_gradient_that_is_not_finite_is_traced_to_where_it_is(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, out=tmp_path)
    run.model.get_parameter("decoder.0.ffn.up_proj.weight").register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(
        NonFiniteError, match=r"gradient is not finite at step 1: .* those of decoder\.0\.ffn\.up_proj\.weight\."
    ):
        next(fit(run))


def test_a_model_that_ignores_its_source_is_noticed(settings: list[str], tmp_path: Path) -> None:
    run = load_run("copy", *settings, "train.validate_every=2", "train.lr=1e-12", out=tmp_path)
    with torch.no_grad():
        for name, p in [*run.model.named_parameters(), *(run.ema.tensors if run.ema else {}).items()]:
            if "cross_attn.o_proj" in name:
                p.zero_()
    step = [step for _, step in zip(range(2), fit(run), strict=False)][1]
    assert step.validation["ignores_source"] == 1.0


def test_early_stopping_ends_the_run(settings: list[str], tmp_path: Path) -> None:
    quick = ["train.validate_every=1", "train.patience=2", "train.lr=1e-12", "train.ema=0.0"]
    run = load_run("copy", *settings, *quick, out=tmp_path)
    assert len(list(fit(run))) == 3 and run.state.finished and run.state.best_step == 1


def test_a_run_can_start_from_a_bundle_with_its_vocabulary(settings: list[str], tmp_path: Path) -> None:
    for _ in fit(load_run("copy", *settings, out=tmp_path / "first")):
        pass
    more = [*settings, f"train.init={tmp_path / 'first'}", "model.d_model=64"]
    run = load_run("copy", *more, out=tmp_path / "second")
    assert "so not used: model.d_model" in run.notes
    first = load_bundle(tmp_path / "first")
    assert run.recipe.model.d_model == 32
    assert run.task.tokenizer.to_json() == first.tokenizer.to_json()
    for name, p in first.model.named_parameters():
        assert torch.equal(run.model.get_parameter(name), p)
    written = read_recipe(tmp_path / "second" / "recipe.toml")
    assert written.model == run.recipe.model and written.tokenizer == first.tokenizer.settings
    for step in fit(run):
        if step.index == 10:
            break
    (tmp_path / "first").rename(tmp_path / "gone")
    assert len(list(fit(load_run("copy", *more, out=tmp_path / "second")))) == 10


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_schedule_rises_to_its_peak_at_the_end_of_the_warmup_and_never_above(name: str) -> None:
    schedule = SCHEDULES[name](100, 1000)
    factors = [schedule(step) for step in range(1, 1001)]
    assert factors[0] == pytest.approx(0.01) and factors[99] == pytest.approx(1.0) and max(factors) <= 1.0
    assert all(factor > 0 for factor in factors)


def test_inverse_sqrt_with_the_papers_peak_is_equation_3() -> None:
    schedule = SCHEDULES["inverse_sqrt"](4000, 100_000)
    for step in (1, 100, 4000, 4001, 90_000):
        published = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert paper_peak(512, 4000) * schedule(step) == pytest.approx(published)


def test_the_average_of_weights_is_their_mean() -> None:
    many = [{"a": torch.full((2,), float(i))} for i in range(4)]
    assert torch.equal(average(iter(many))["a"], torch.full((2,), 1.5))


def test_the_moving_average_follows_its_definition() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    ema = Ema(model, 0.5)
    expected = model.weight.item()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.add_(1.0)
        ema.update(model, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.item()
    assert ema.tensors["weight"].item() == pytest.approx(expected, rel=1e-5)


def test_where_minutes_end_a_run_its_learning_rate_comes_down_with_them(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count()
    monkeypatch.setattr("sightline.training.loop.time.monotonic", lambda: float(next(clock)))
    settings = [s for s in settings if not s.startswith(("train.max_steps", "train.validate_every"))]
    settings += [
        "train.max_minutes=2.02",
        "train.max_steps=100000",
        "train.schedule=cosine",
        "train.warmup=5",
        "train.lr=1.0",
    ]
    run = load_run("copy", *settings, out=tmp_path)
    assert run.expected_steps() == 100_000
    rates = [step.lr for step in fit(run)]
    assert run.state.seconds > 121.2 and run.expected_steps() == run.state.step  # the last step went beyond the end
    assert 10 < len(rates) < 100 and run.expected_steps() == len(rates)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    assert rates[len(rates) // 2] > 0.3 and rates[-1] < 0.03
