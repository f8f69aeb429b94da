"""Validation along the way, and the choice of the weights that are kept at the end."""

import json
import math
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from sightline.bundle import named_weights
from sightline.bundle.weights import PRECISIONS
from sightline.files import write_atomically
from sightline.tasks.task import Evaluation, Task
from sightline.training.optim import average, load_weights
from sightline.training.run import Run

SOURCE_MATTERS = 0.02
"""Nats per token that exchanging the sources must cost; less means that the model ignores its source."""


class _Weights:
    """`with _Weights(run, w):` evaluates the run's model with the weights `w`; afterwards it trains on with its own."""

    def __init__(self, run: Run, weights: dict[str, Tensor]) -> None:
        self.model, self.weights = run.model, weights

    def __enter__(self) -> None:
        self.own = {name: tensor.clone() for name, tensor in named_weights(self.model).items()}
        load_weights(self.model, self.weights)
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        load_weights(self.model, self.own)
        self.model.train()


def validate(run: Run) -> Evaluation:
    """Score the present weights on the validation set, keep them as a snapshot, and as the bundle if they are the best yet."""
    state, settings = run.state, run.settings
    task: Task = run.task
    with _Weights(run, run.weights()):
        found = task.evaluate(run.model, "valid", final=False)
    ignores = found.figures.get("loss_shuffled", math.inf) - found.figures["loss"] < SOURCE_MATTERS
    figures = {**found.figures, "ignores_source": float(ignores)}
    value = _value(run, figures)
    run.save_snapshot()
    if state.best is None or value > state.best:
        state.best, state.best_step, state.worse = value, state.step, 0
        run.save_bundle(run.weights(), {"validation": _said(figures)})
    else:
        state.worse += 1
    state.snapshots = [*state.snapshots, state.step][-max(1, settings.average) :]
    spent = {"seconds": round(state.seconds, 1), "tokens": state.tokens}
    run.recorder.write("valid", state.step, figures | spent)
    return replace(found, figures=figures)


def _value(run: Run, figures: dict[str, float]) -> float:
    """What decides which weights are best: more is better."""
    name = run.settings.best_by
    return -figures[name] if name == "loss" else figures[name]


def _said(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figures[name]:.2f}" for name in ("bleu", "loss") if name in figures)


def finish(run: Run) -> None:
    """Choose the weights by the recipe's own decoding on the validation set, score them on the test set, write the bundle."""
    state = run.state
    task: Task = run.task
    if not state.snapshots or state.snapshots[-1] != state.step:
        validate(run)
    candidates = {f"step {state.best_step}": run.snapshot(state.best_step)}
    if len(state.snapshots) > 1 and run.settings.average > 1:
        name = f"average of the last {len(state.snapshots)} validations"
        candidates[name] = average(run.snapshot(step) for step in state.snapshots)
    kind = PRECISIONS[run.recipe.saved_precision]  # chosen and scored as they will be saved
    candidates = {
        name: {at: tensor.to(kind).float() for at, tensor in weights.items()} for name, weights in candidates.items()
    }
    results: dict[str, Any] = {}
    best_name, best_value = "", float("-inf")
    for name, weights in candidates.items():
        with _Weights(run, weights):
            figures = task.evaluate(run.model, "valid", final=True).figures
        results[name] = figures
        if (value := _value(run, figures)) > best_value:
            best_name, best_value = name, value
    scores = {"weights": best_name, "validation": _said(results[best_name])}
    with _Weights(run, candidates[best_name]):
        for part, found in task.scores(run.model, "test").items():
            scores[f"test{' ' + part if part else ''}"] = found.summary()
            write_atomically(run.folder / f"test{'-' + part if part else ''}.json", json.dumps(asdict(found), indent=1))
    run.save_bundle(candidates[best_name], scores)
    state.finished = True
    run.recorder.write("finished", state.step, {"chosen": best_name, "candidates": results, **scores})
