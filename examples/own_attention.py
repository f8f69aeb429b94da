"""A new attention is a class with one method; `module:Class` puts it into a model by configuration alone.

    python examples/own_attention.py

On the command line, with this folder where Python looks for modules:

    PYTHONPATH=examples sightline train copy model.attention=own_attention:Sharp --out runs/sharp
"""

import sys
import tempfile
from pathlib import Path

import sightline as sl

sys.path.insert(0, str(Path(__file__).parent))  # so that own_attention:Sharp can be imported by its name


class Sharp(sl.AttentionCore):
    """Attention that makes up its mind: scores three times as large as the dot product."""

    def weights(self, q, k, mask):
        return sl.masked_softmax(3.0 * q @ k.mT, mask)


def main(steps: int, folder: str) -> None:
    run = sl.load_run("copy", "model.attention=own_attention:Sharp", "train.threads=1", out=folder)
    print(
        "every core of this model:", {type(m).__name__ for m in run.model.modules() if isinstance(m, sl.AttentionCore)}
    )
    for step in sl.fit(run):
        print(f"step {step.index}  loss {step.loss:.3f}")
        if step.index == steps:
            break


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, f"{scratch}/sharp")
