"""Validation along the way, and the choice of the weights that are kept at the end."""

import json
import math
from dataclasses import asdict
from typing import Any

from torch import Tensor

from sightline.bundle import PRECISIONS, named_weights
from sightline.files import write_atomically
from sightline.metrics.translation import TranslationScores
from sightline.training.optim import average, load_weights
from sightline.training.run import Run

SOURCE_MATTERS = 0.02
"""Nats per token that exchanging the sources must cost; less means that the model ignores its source."""


class _Weights:
    """`with _Weights(run, w):` puts `w` into the run's model and the model's own weights back afterwards."""

    def __init__(self, run: Run, weights: dict[str, Tensor]) -> None:
        self.model, self.weights = run.model, weights

    def __enter__(self) -> None:
        self.own = {name: tensor.clone() for name, tensor in named_weights(self.model).items()}
        load_weights(self.model, self.weights)

    def __exit__(self, *_: object) -> None:
        load_weights(self.model, self.own)


def validate(run: Run) -> tuple[dict[str, float], list[tuple[str, str, str]]]:
    """Score the present weights on the validation set, keep them as a snapshot, and as the bundle if they are the best yet.

    Returns the figures, and source, translation and reference of a few sentences.
    """
    state, settings, task = run.state, run.settings, run.task
    decoding = run.recipe.decoding.model_copy(update={"beam": settings.validation_beam, "n_best": 1})
    with _Weights(run, run.weights()):
        run.model.eval()
        figures, translations = task.evaluate_with(run.model, "valid", decoding)
        run.model.train()
    figures["ignores_source"] = float(figures.get("loss_shuffled", math.inf) - figures["loss"] < SOURCE_MATTERS)
    value = figures["bleu"] if settings.metric == "bleu" else -figures["loss"]
    run.save_snapshot()
    if state.best is None or value > state.best:
        state.best, state.best_step, state.worse = value, state.step, 0
        run.save_bundle(run.weights(), {"validation": _said(figures)})
    else:
        state.worse += 1
    state.snapshots = [*state.snapshots, state.step][-max(1, settings.average) :]
    run.recorder.write("valid", state.step, figures)
    examples = task.examples("valid")
    spread = [k * len(examples) // max(1, settings.samples) for k in range(min(settings.samples, len(examples)))]
    return figures, [(examples[k].src, translations[k], examples[k].refs[0]) for k in spread]


def _said(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figures[name]:.2f}" for name in ("bleu", "loss") if name in figures)


def summary(scores: TranslationScores) -> str:
    """All scores with their signatures, in a line of a card."""
    return (
        f"BLEU {scores.bleu:.2f} (`{scores.bleu_signature}`), chrF {scores.chrf:.2f} (`{scores.chrf_signature}`), "
        f"TER {scores.ter:.2f} (`{scores.ter_signature}`), tokenised BLEU {scores.tokenised_bleu:.2f} "
        f"(`{scores.tokenised_signature}`), {scores.n_sentences} sentences"
    )


def finish(run: Run) -> None:
    """Choose the weights by the recipe's own decoding on the validation set, score them on the test set, write the bundle."""
    state, task = run.state, run.task
    if not state.snapshots or state.snapshots[-1] != state.step:
        validate(run)
    candidates = {f"step {state.best_step}": run.snapshot(state.best_step)}
    if len(state.snapshots) > 1 and run.settings.average > 1:
        name = f"average of the last {len(state.snapshots)} validations"
        candidates[name] = average(run.snapshot(step) for step in state.snapshots)
    kind = PRECISIONS[run.recipe.precision]  # chosen and scored as they will be saved
    candidates = {
        name: {at: tensor.to(kind).float() for at, tensor in weights.items()} for name, weights in candidates.items()
    }
    results: dict[str, Any] = {}
    best_name, best_value = "", float("-inf")
    for name, weights in candidates.items():
        with _Weights(run, weights):
            run.model.eval()
            figures, _ = task.evaluate_with(run.model, "valid", run.recipe.decoding)
            run.model.train()
        results[name] = figures
        value = figures["bleu"] if run.settings.metric == "bleu" else -figures["loss"]
        if value > best_value:
            best_name, best_value = name, value
    scores = {"weights": best_name, "validation": _said(results[best_name])}
    with _Weights(run, candidates[best_name]):
        run.model.eval()
        if task.examples("test"):
            for to, found in task.scores(task.translations(run.model, "test"), "test").items():
                scores[f"test{' to ' + to if to else ''}"] = summary(found)
                write_atomically(run.folder / f"test{'-' + to if to else ''}.json", json.dumps(asdict(found), indent=1))
        run.model.train()
    run.save_bundle(candidates[best_name], scores)
    state.finished = True
    run.recorder.write("finished", state.step, {"chosen": best_name, "candidates": results, **scores})
