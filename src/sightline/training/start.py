"""From a recipe to a run that is ready to train, or to go on."""

import os
import time
from pathlib import Path

import torch
from torch import nn

from sightline.bundle import FILES, load_bundle, named_weights
from sightline.config import dump_toml, parse, read_toml
from sightline.data.prepared import Prepared
from sightline.data.survey import Progress
from sightline.errors import ConfigError, DataError, UserError
from sightline.files import explain_os_errors, locked, write_atomically
from sightline.models.build import build_model
from sightline.tasks.translation import TASKS
from sightline.training.devices import best_device, can_compile, choose_precision, free_memory, settle, usable_cores
from sightline.training.estimate import estimate
from sightline.training.optim import Ema, load_weights, make_optimizer
from sightline.training.processes import Processes, join
from sightline.training.recipe import Recipe, prepare_run, read_recipe
from sightline.training.record import Recorder, Silent
from sightline.training.run import Run
from sightline.training.settings import TrainSettings
from sightline.training.state import RunState, newest_state, state_folders

FIRST_SCALE = 65536.0
"""Of the loss in fp16: near the largest number there is."""
ENDS = ("max_steps", "max_minutes", "patience")
"""The settings that say when training is over; a run may go on with others."""
BYTES_PER_PARAMETER = 16
"""Weight, gradient and two moments of Adam in float32; a moving average takes 4 more."""
WRITTEN = (*FILES, "weights", "log.jsonl", "test.json", "test-*.json")
"""What a run writes beside its recipe and state."""


def load_run(recipe: str | Path, *settings: str, out: str | Path | None = None) -> Run:
    """A run of a recipe that comes with sightline or of a .toml file, prepared and ready for `fit`.

    `settings` are NAME=VALUE replacements, as on the command line; `out` is the run's folder, `runs/NAME` without it. A run
    that was stopped goes on where it was.

    Raises ConfigError naming the setting, DataError naming the file and line.
    """
    chosen = read_recipe(recipe, settings)
    return start_run(chosen, Path("runs") / chosen.name if out is None else out)


def start_run(recipe: Recipe, folder: str | Path, progress: Progress | None = None) -> Run:
    """Prepare the data if needed, build the model, and go back to where an earlier run in this folder stopped.

    Raises ConfigError if the folder holds a run of a different recipe, UserError for anything wrong with data or folder.
    """
    folder, processes = Path(folder), join()
    earlier = check_folder(folder, recipe) if processes.first else None
    given, recipe = recipe, initialised(recipe, folder)
    check_model(recipe)
    prepared = _prepared(recipe, folder, progress, processes)
    if not prepared.evaluation("valid"):
        raise DataError(
            "There are no validation sentences, and without them nothing tells how good the model is. Give data.valid, or "
            "have some set aside with data.hold_out_valid=50."
        )
    found = newest_state(folder / "state")
    if found is not None and recipe.train.max_steps < found[0].step:
        raise ConfigError(
            f"{folder} is at step {found[0].step:,} already, beyond train.max_steps = {recipe.train.max_steps:,}: give more "
            "steps, or train another run with --out."
        )
    if processes.first:
        _write_recipe(folder / "recipe.toml", recipe)
    state, tensors, notes = found if found is not None else (RunState(), {}, [])
    device = processes.device(best_device())
    if processes.first:
        _choose_for_machine(recipe.train, state, device, notes)
        if not state.batch_tokens:
            _largest_batch(recipe, prepared, state, device, notes)
    state = processes.share(state)
    _same_processes(state, processes, found is not None)
    settle(state.threads)
    torch.manual_seed(recipe.train.seed)
    model: nn.Module = build_model(recipe.model, prepared.tokenizer.src_vocab_size, prepared.tokenizer.tgt_vocab_size)
    if recipe.train.init is not None and found is None:
        load_weights(model, named_weights(load_bundle(recipe.train.init).model))
        notes.append(f"model, vocabulary and first weights are those of {recipe.train.init}; dropout is the recipe's")
        if unused := overruled(given, recipe):
            notes.append(f"so not used: {', '.join(unused)}")
    model.to(device)
    torch.manual_seed(
        recipe.train.seed + 1_000_003 * processes.rank
    )  # all have the same weights, but not the same dropout
    task = TASKS[recipe.task](
        prepared,
        seed=recipe.train.seed,
        batch_tokens=state.batch_tokens,
        label_smoothing=recipe.train.label_smoothing,
        r_drop=recipe.train.r_drop,
        decoding=recipe.decoding,
        metric=recipe.metric,
        max_len=recipe.model.max_len,
        weights=[corpus.weight for corpus in recipe.data.train],
        max_validated=recipe.train.max_validated,
        validation_beam=recipe.train.validation_beam,
        samples=recipe.train.samples,
        packed=state.compiled,
    )
    run = Run(
        recipe=recipe,
        folder=folder,
        task=task,
        model=model,
        optimizer=make_optimizer(model, recipe.train, state.precision),
        ema=Ema(model, recipe.train.ema) if recipe.train.ema else None,
        state=state,
        recorder=Recorder(folder, state.step, recipe.train.tensorboard) if processes.first else Silent(),
        device=device,
        processes=processes,
        notes=notes,
    )
    if found is not None:
        run.restore(tensors)
    if earlier is not None and any(getattr(earlier.train, end) != getattr(recipe.train, end) for end in ENDS):
        run.state.finished = False  # it is to train for longer than was said before
    run.state.finished = bool(processes.agree(run.state.finished))
    run.last_saved = time.monotonic()
    return run


def _prepared(recipe: Recipe, folder: Path, progress: Progress | None, processes: Processes) -> Prepared:
    """The corpus, prepared by the first process; the others then find it."""
    if processes.first:
        with locked(folder / ".lock", "a run is being trained in this folder"):
            prepared = prepare_run(recipe, folder, progress)
        processes.wait()
        return prepared
    processes.wait()
    return Prepared.open(folder / "data")


def _same_processes(state: RunState, processes: Processes, begun: bool) -> None:
    """Raises ConfigError if the run was begun with another number of processes, each of which has its share of the batches."""
    if begun and state.processes != processes.size:
        raise ConfigError(
            f"This run was begun with {state.processes} processes, and now there are {processes.size}. Go on with as many "
            "(torchrun --nproc-per-node), or train in another folder (--out)."
        )
    state.processes = processes.size


def _write_recipe(file: Path, recipe: Recipe) -> None:
    """Write it, unless the file says the same already, perhaps with somebody's comments."""
    with explain_os_errors(file.parent, doing="write the run folder"):
        if not file.is_file() or parse(Recipe, read_toml(file)) != recipe:
            write_atomically(file, dump_toml(recipe))


def _choose_for_machine(settings: TrainSettings, state: RunState, device: torch.device, notes: list[str]) -> None:
    """Number format, threads and batch budget: chosen once, then part of the run's state."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    state.threads = state.threads or settings.threads or max(1, usable_cores() // local)
    if not state.precision:
        state.compiled = settings.compile
        if settings.compile and not can_compile(device):
            raise ConfigError(
                "train.compile = true needs a CUDA GPU, Triton and a C compiler. Leave it out to train without."
            )
        state.precision = settings.precision
        if settings.precision == "auto":
            state.precision, why = choose_precision(device)
            notes.append(f"number format {state.precision}: {why}")
        state.loss_scale = FIRST_SCALE if state.precision == "fp16" else 1.0
    if not state.batch_tokens and settings.batch_tokens != "auto":
        state.batch_tokens = settings.batch_tokens


def _largest_batch(recipe: Recipe, prepared: Prepared, state: RunState, device: torch.device, notes: list[str]) -> None:
    """`train.batch_tokens = "auto"`: what fits into the free memory, but at least a hundred batches an epoch."""
    tokenizer, pairs = prepared.tokenizer, prepared.train()
    need = estimate(
        recipe.model, max(tokenizer.src_vocab_size, tokenizer.tgt_vocab_size), recipe.train, state.precision
    )
    fits = need.largest(free_memory(device), device.type)
    epoch = int(max(pairs.src_lengths.sum(), pairs.tgt_lengths.sum()))
    state.batch_tokens = max(64, min(fits, epoch // 100 // 64 * 64))
    why = "what the free memory takes" if fits <= epoch // 100 else f"a hundredth of an epoch; {fits:,} would fit"
    notes.append(f"batches of {state.batch_tokens:,} tokens: {why}")


def check_folder(folder: Path, recipe: Recipe) -> Recipe | None:
    """The recipe of the run in `folder`, if there is one. Nothing is written.

    Raises UserError if `folder` is a file or holds what a run would overwrite, ConfigError if the run there differs from
    `recipe` in more than how long it trains and what it shows.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, and a run needs a folder. Choose another name with --out.")
    file = folder / "recipe.toml"
    recipe = initialised(recipe, folder)
    begun = file.is_file()
    in_the_way = [path.name for name in WRITTEN for path in sorted(folder.glob(name))]
    if in_the_way and not state_folders(folder / "state"):
        what = "a trained model without the state to go on from" if begun else "files that this run would overwrite"
        raise UserError(
            f"{folder} holds {what} ({', '.join(in_the_way)}). Choose another folder with --out, or move them away."
        )
    if not begun:
        return None
    earlier = parse(Recipe, read_toml(file))
    free = {*ENDS, "save_minutes", "samples", "tensorboard"}
    changed = _differences(earlier.model_dump(), recipe.model_dump(), "")
    changed = [key for key in changed if key.removeprefix("train.") not in free and not key.startswith("expected")]
    if changed:
        changed.sort(key=lambda key: not key.endswith(".kind"))  # what decides all the others
        raise ConfigError(
            f"{folder} holds a run with other settings ({', '.join(changed[:4])} differ), and a run goes on only as it "
            "began. Choose another folder with --out, or give the earlier settings."
        )
    return earlier


def initialised(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the model (all but its dropout) and the vocabulary of the bundle it starts from, if it names one in
    `train.init`; those of the run in `folder` once that has begun, for the bundle may be gone by then.
    """
    if recipe.train.init is None:
        return recipe
    if state_folders(folder / "state") and (folder / "recipe.toml").is_file():
        begun = parse(Recipe, read_toml(folder / "recipe.toml"))
        model, tokenizer = begun.model, begun.tokenizer
    else:
        bundle = load_bundle(recipe.train.init)
        model, tokenizer = bundle.config.model, bundle.tokenizer.settings
    kept = {name: value for name, value in recipe.model.model_dump().items() if name.endswith("dropout")}
    return recipe.model_copy(update={"model": model.model_copy(update=kept), "tokenizer": tokenizer})


def overruled(recipe: Recipe, used: Recipe) -> list[str]:
    """The settings of model and tokenizer that `recipe` gives and `used`, which starts from a bundle, does not have."""
    return [
        f"{section}.{name}"
        for section in ("model", "tokenizer")
        for name in sorted(getattr(recipe, section).model_fields_set)
        if getattr(getattr(recipe, section), name) != getattr(getattr(used, section), name)
    ]


def check_model(recipe: Recipe) -> None:
    """Raises ConfigError if there can be no such model, or none that this machine can train, which is better said before a
    corpus is prepared.
    """
    model = recipe.model
    layers = {name: min(1, getattr(model, name)) for name in ("n_encoder_layers", "n_decoder_layers")}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):  # no memory is taken
        thin = build_model(model.model_copy(update=layers), 8, 8 if recipe.tokenizer.joint else 9)
    total = sum(p.numel() for p in thin.parameters())
    for stack, count in ((thin.encoder, model.n_encoder_layers), (thin.decoder, model.n_decoder_layers)):
        total += (count - 1) * sum(p.numel() for block in stack for p in block.parameters())
    needed = total * (BYTES_PER_PARAMETER + (4 if recipe.train.ema else 0))
    free = free_memory(best_device())
    if needed > free:
        raise ConfigError(
            f"A model of {total / 1e6:,.0f} M parameters (without its embeddings) takes at least {needed / 2**30:,.1f} GiB "
            f"to train, and {free / 2**30:,.1f} GiB of memory are free. Make model.d_model, model.d_ff or the layers smaller."
        )


def _differences(a: object, b: object, key: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            found
            for name in {**a, **b}
            for found in _differences(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
        ]
    return [] if a == b else [key]
