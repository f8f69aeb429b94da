"""`sightline train --plan`: what a training would take."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.training.recipe import Recipe


def print_plan(recipe: "Recipe", console: "Console") -> None:
    """Memory by what holds it, and time here and on other machines. Trains for two seconds, on random tokens; writes nothing."""
    from rich.table import Table

    from sightline.cli.display import say
    from sightline.training.devices import best_device, choose_precision, free_memory, settle, usable_cores
    from sightline.training.estimate import MACHINES, estimate, this_machine
    from sightline.training.rate import training_rate

    settings, vocab_size, device = recipe.train, recipe.tokenizer.vocab_size, best_device()
    settle(settings.threads or usable_cores())
    precision = choose_precision(device)[0] if settings.precision == "auto" else settings.precision
    need, free = estimate(recipe.model, vocab_size, settings, precision), free_memory(device)
    largest = need.largest(free, device.type)
    batch = largest if settings.batch_tokens == "auto" else settings.batch_tokens
    say(console, f"{recipe.name}: {need.parameters / 1e6:,.1f} M parameters, {precision}, batches of {batch:,} tokens")

    table = Table(box=None, pad_edge=False)
    table.add_column("memory")
    table.add_column("MiB", justify="right")
    parts = {
        "weights": need.weights,
        "gradients": need.gradients,
        f"optimizer ({settings.optimizer})": need.optimizer,
        "moving average": need.average,
        "activations of a batch": need.activations * batch,
        "loss over the vocabulary": need.loss,
        "all, with the program itself": need.total(batch, device.type),
        "free here": free,
    }
    for name, size in parts.items():
        table.add_row(name, f"{size / 2**20:,.0f}")
    console.print(table)
    fits = f"The largest batch that fits here: {largest:,} tokens." if largest else "Not even a small batch fits here."
    say(console, f"{fits}\n")

    steps = settings.max_steps * settings.accumulate
    times = Table(box=None, pad_edge=False)
    for column in ("machine", "target tokens/s", f"{settings.max_steps:,} steps", "fits"):
        times.add_column(column, justify="left" if column == "machine" else "right")
    here = training_rate(recipe.model, vocab_size, settings)
    times.add_row(
        "this machine, measured for two seconds", f"{here:,.0f}", _time(steps * batch / here), _fits(largest >= batch)
    )
    for machine in (this_machine(precision, device, free), *MACHINES):
        kind = "cuda" if machine in MACHINES else device.type
        seconds = need.seconds(machine, batch)
        name = machine.name if machine.name.startswith("this") else f"{machine.name}, on paper"
        rate = machine.count * batch / seconds
        times.add_row(name, f"{rate:,.0f}", _time(steps * seconds), _fits(need.total(batch, kind) <= machine.memory))
    console.print(times)
    say(
        console,
        "\nWithout validations. On paper: operations at the rate of the machine's matrix products, activations at that of its "
        "memory, and on a GPU at least the time to start them. Several GPUs take several batches a step.",
    )


def _time(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 1 else f"{seconds:.0f} s"


def _fits(it_does: bool) -> str:
    return "yes" if it_does else "no"
