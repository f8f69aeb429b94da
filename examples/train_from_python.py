"""Train from Python: `sl.fit` is an iterator, so the body of the loop is the callback and `break` stops and saves.

python examples/train_from_python.py
"""

import sys
import tempfile

import sightline as sl


def main(steps: int, folder: str) -> None:
    run = sl.load_run("copy", f"train.validate_every={steps}", "train.threads=1", out=folder)
    for step in sl.fit(run):
        if step.index % 5 == 0:
            print(f"step {step.index:4d}  loss {step.loss:.3f}  {step.tokens_per_second:,.0f} tokens/s")
        if step.validation:
            print(f"           BLEU on the validation set: {step.validation['bleu']:.1f}")
            break  # the model is in the folder; without this line it trains on to the recipe's end
    translator = sl.load(folder)
    print("1 2 3 ->", translator("1 2 3"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20, f"{scratch}/copy")
