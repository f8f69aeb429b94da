"""What an optimizer step costs: Adam, sightline's Muon, and torch's own Muon with AdamW for the rest.

    python benchmarks/muon_step.py --recipe multi30k-en-de-tok

takes the model of a recipe, gives it random gradients, and times the three in turn (the third needs torch 2.9); the median of
each is printed, in milliseconds, with one training step beside it. The step and sightline's Muon
are in the number format that a run would have here.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from sightline.bundle.weights import PRECISIONS
from sightline.models.build import build_model
from sightline.training.devices import best_device, choose_precision
from sightline.training.optim import Muon, make_optimizer
from sightline.training.rate import training_rate
from sightline.training.recipe import read_recipe
from sightline.training.settings import TrainSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="multi30k-en-de-tok")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: all cores")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    train = recipe.train.model_copy(update={"threads": args.threads, "optimizer": "adam"})
    rate = training_rate(recipe.model, recipe.tokenizer.vocab_size, train)  # sets the threads, too

    model = build_model(recipe.model, recipe.tokenizer.vocab_size, recipe.tokenizer.vocab_size)
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    adam = make_optimizer(model, TrainSettings(optimizer="adam", lr=1e-4))
    precision, _ = choose_precision(best_device())
    muon = Muon(model, (0.9, 0.98), 1e-9, weight_decay=0.0, dtype=PRECISIONS[precision])
    theirs = torch.optim.Muon(list(muon.matrices), lr=1e-4, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    rest = torch.optim.AdamW([p for p in model.parameters() if p not in muon.matrices], lr=1e-4, fused=True)

    def torch_muon() -> None:
        theirs.step()
        rest.step()

    steps: dict[str, Callable[[], object]] = {
        "Adam": adam.step,
        "Muon": muon.step,
        "torch.optim.Muon, AdamW": torch_muon,
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append(1000 * (time.perf_counter() - began))
    print(
        f"{recipe.name}: {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {torch.get_num_threads()} threads"
    )
    print(
        f"{1000 * train.batch_tokens / rate:8.1f} ms  a whole training step of {train.batch_tokens} tokens, with Adam"
    )
    for name, found in times.items():
        print(f"{statistics.median(found):8.1f} ms  {name}")


if __name__ == "__main__":
    main()
