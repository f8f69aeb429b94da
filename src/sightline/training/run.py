"""A run: a recipe at work in a folder, and everything that training changes."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sightline.bundle import Bundle, BundleConfig, named_weights, save_bundle
from sightline.bundle.weights import read_weights, save_weights
from sightline.errors import UserError
from sightline.models.build import build_model
from sightline.tasks.translation import TranslationTask
from sightline.training.card import write_card
from sightline.training.optim import Ema, load_weights
from sightline.training.processes import Processes
from sightline.training.recipe import Recipe
from sightline.training.record import Recorder
from sightline.training.schedule import SCHEDULES, paper_peak
from sightline.training.settings import TrainSettings
from sightline.training.state import (
    RunState,
    optimizer_tensors,
    random_states,
    referenced_snapshots,
    restore_optimizer,
    restore_random_states,
    save_state,
)


@dataclass
class Run:
    """A recipe at work in a folder. Made by `start_run`; trained by `fit`."""

    recipe: Recipe
    folder: Path
    task: TranslationTask
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    state: RunState
    recorder: Recorder
    device: torch.device
    processes: Processes
    notes: list[str]
    """What was chosen or noticed at the start, in words."""
    stop_requested: bool = False
    """Set it to have `fit` save and end after the step at hand."""
    last_saved: float = 0.0

    @property
    def settings(self) -> TrainSettings:
        """How it is trained."""
        return self.recipe.train

    def expected_steps(self) -> int:
        """How many steps there will be: `max_steps`, or as many as fit into `max_minutes` at the pace so far."""
        limit, state = self.settings.max_minutes, self.state
        if limit is None or state.seconds == 0:
            return self.settings.max_steps
        fitting = math.ceil(state.step * 60 * limit / state.seconds)
        return min(self.settings.max_steps, max(state.step, fitting))

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 1. Where minutes end the training, the cosine ends with them, and a warm-up
        takes at most a quarter of the steps that fit into them.
        """
        t, expected = self.settings, self.expected_steps()
        peak = t.lr if t.lr is not None else paper_peak(self.recipe.model.d_model, t.warmup)
        warmup = t.warmup if t.max_minutes is None else min(t.warmup, max(1, expected // 4))
        return peak * SCHEDULES[t.schedule](warmup, expected)(step)

    def weights(self) -> dict[str, Tensor]:
        """The weights that are validated and kept: the moving average if there is one."""
        return self.ema.tensors if self.ema is not None else named_weights(self.model)

    def save(self) -> None:
        """Save everything needed to go on exactly from here: all processes together, by the first."""
        self.last_saved = time.monotonic()
        states = self.processes.gather(random_states())
        if not self.processes.first:
            return
        tensors = {f"model.{name}": tensor for name, tensor in named_weights(self.model).items()}
        tensors |= optimizer_tensors(self.optimizer)
        for rank, found in enumerate(states):
            tensors |= {f"{name}.{rank}": tensor for name, tensor in found.items()}
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.tensors.items()}
        save_state(self.folder / "state", self.state, tensors)
        needed = {self.snapshot_path(step) for step in referenced_snapshots(self.folder / "state")}
        for path in (self.folder / "weights").glob("step-*.safetensors"):
            if path not in needed:
                path.unlink(missing_ok=True)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `save` wrote; the `RunState` goes in when the run is made."""
        ending = f".{self.processes.rank}"
        if f"random.cpu{ending}" not in tensors or not optimizer_tensors(self.optimizer).keys() <= tensors.keys():
            raise UserError(
                f"{self.folder} holds a run begun by an earlier version of sightline, which this one cannot go on with. Train "
                "again in another folder (--out)."
            )
        load_weights(self.model, _without("model.", tensors))
        restore_optimizer(self.optimizer, tensors)
        if self.ema is not None:
            saved = _without("ema.", tensors)
            for name, tensor in self.ema.tensors.items():
                tensor.copy_(saved[name])
        restore_random_states(
            {
                name.removesuffix(ending): x
                for name, x in tensors.items()
                if name.startswith("random.") and name.endswith(ending)
            }
        )

    def snapshot_path(self, step: int) -> Path:
        """Where the weights of a validation lie."""
        return self.folder / "weights" / f"step-{step:08d}.safetensors"

    def save_snapshot(self) -> None:
        """Keep the validated weights of this step."""
        save_weights(self.snapshot_path(self.state.step), self.weights())

    def snapshot(self, step: int) -> dict[str, Tensor]:
        """The weights of an earlier validation. Raises BundleError if they are damaged or gone."""
        return read_weights(self.snapshot_path(step))

    def save_bundle(self, weights: dict[str, Tensor], scores: dict[str, str]) -> None:
        """Write the folder's bundle with these weights and a card that tells their scores."""
        with torch.random.fork_rng(devices=[]):
            model = build_model(
                self.recipe.model, self.task.tokenizer.src_vocab_size, self.task.tokenizer.tgt_vocab_size
            )
        load_weights(model, weights)
        config = BundleConfig(
            name=self.recipe.name,
            task=self.recipe.task,
            src_lang=self.task.prepared.src_lang,
            tgt_lang=self.task.prepared.tgt_lang,
            model=self.recipe.model,
            decoding=self.recipe.decoding,
            metric=self.recipe.metric,
        )
        card = write_card(self.recipe, self.task.prepared, self.state, scores)
        save_bundle(self.folder, Bundle(config, model, self.task.tokenizer, card), self.recipe.saved_precision)


def _without(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
