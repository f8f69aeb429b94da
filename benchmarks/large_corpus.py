"""A corpus larger than one would like to hold in memory: peak memory of preparing it and of training on it, and the time
from a prepared corpus to the first batch.

    python benchmarks/large_corpus.py --pairs 10_000_000

makes that many synthetic pairs on disk (about 100 bytes each; three times as much again is needed while it is prepared).
"""

import argparse
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RECIPE = """
name = "large"

[data]
train = {{ pairs = "{file}", src_lang = "xx", tgt_lang = "yy" }}
hold_out_valid = 500
hold_out_test = 500

[tokenizer]
vocab_size = 8000

[model]
d_model = 128
n_heads = 4
d_ff = 256
n_encoder_layers = 2
n_decoder_layers = 2
norm_at = "pre"

[train]
batch_tokens = 4096
max_steps = 20
validate_every = 20
max_validated = 20
lr = 0.001
"""

FIRST_BATCH = """
import sys, time
from sightline.training.start import load_run
import torch
began = time.perf_counter()
run = load_run(sys.argv[1], out=sys.argv[2])
batch = next(iter(run.task.batches("train", 0)))
print(f"{len(run.task.pairs):,} pairs; first batch of {batch.n_tgt:,} target tokens after {time.perf_counter() - began:.1f} s")
"""


def write_pairs(path: Path, count: int) -> None:
    """Two to four phrases a sentence, each of two to five made-up words, and their translations word by word."""
    generator = random.Random(1)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = [
        ("".join(generator.choices(syllables, k=generator.randint(1, 4))), "".join(generator.choices(syllables, k=2)))
        for _ in range(40_000)
    ]
    shares = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    phrases = []
    for _ in range(100_000):
        chosen = generator.choices(words, cum_weights=shares, k=generator.randint(2, 5))
        phrases.append((" ".join(w[0] for w in chosen), " ".join(w[1] for w in chosen)))
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(count):
            chosen = generator.choices(phrases, k=generator.randint(2, 4))
            file.write(f"{' '.join(p[0] for p in chosen)}\t{' '.join(p[1] for p in chosen)}\n")


def measured(title: str, *command: object) -> None:
    """Run a command; print its minutes and its peak memory."""
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{title} failed")
    minutes = (time.perf_counter() - began) / 60
    print(f"{title:<28}{minutes:6.1f} min   peak memory {usage.ru_maxrss / 2**20:5.2f} GiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="keep everything here; a temporary folder without it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        corpus, recipe, run = folder / "pairs.tsv", folder / "large.toml", folder / "run"
        if not corpus.exists():
            write_pairs(corpus, options.pairs)
        recipe.write_text(RECIPE.format(file=corpus.resolve().as_posix()), encoding="utf-8")
        print(f"{options.pairs:,} pairs, {corpus.stat().st_size / 2**30:.2f} GiB of text", flush=True)
        sightline = sys.executable, "-m", "sightline"
        measured("sightline prepare", *sightline, "prepare", recipe, "--out", run)
        subprocess.run([sys.executable, "-c", FIRST_BATCH, recipe, run], check=True)
        measured("sightline train, 20 steps", *sightline, "train", recipe, "--out", run)


if __name__ == "__main__":
    main()
