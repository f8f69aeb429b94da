"""Training beside other toolkits: target tokens a second, memory, and how near the matrix products alone the step comes.

    python benchmarks/training.py                                        the bundled corpus
    python benchmarks/training.py --multi30k DIR --tatoeba DIR --markdown docs/benchmarks/training.md

sightline, Hugging Face MarianMT, torch.nn.Transformer, x-transformers and JoeyNMT take the same steps: the same real
batches, the same sizes, dropout, label smoothing, clipping and Adam; each in its own process, float32 and bf16, in turn, batch
by batch. The first time each takes a batch does not count. Peers are installed into `benchmarks/.environments` the first
time (a few minutes).

Real target tokens are counted, not padding. A ratio is sightline's rate over the other's in the same round, the median of the
rounds. "Products" is the time of the step's matrix products run alone, in the same rounds, over the time of the step.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "peers"))

ENVIRONMENTS = {
    "peers": ["torch=={torch}", "transformers==5.23.0", "x-transformers==2.31.10", "safetensors", "numpy"],
    "joeynmt": ["torch=={torch}", "joeynmt==2.3.0", "importlib_metadata", "setuptools<81", "safetensors", "numpy"],
}
"""What is installed for the peers; JoeyNMT wants older packages than the others."""


@dataclass(frozen=True)
class Toolkit:
    module: str
    name: str
    environment: str | None = None
    """None: the one this script runs in."""
    variants: Sequence[str] = ("",)
    """Ways a toolkit can be set up; all are tried, the fastest counts."""


TOOLKITS = (
    Toolkit("of_sightline", "sightline"),
    Toolkit("of_hugging_face", "Hugging Face MarianMT", "peers", ("sdpa", "eager")),
    Toolkit("of_torch_nn", "torch.nn.Transformer", "peers"),
    Toolkit("of_x_transformers", "x-transformers", "peers", ("", "flash")),
    Toolkit("of_joeynmt", "JoeyNMT", "joeynmt"),
)
PRODUCTS = Toolkit("of_matmuls", "its matrix products alone")


@dataclass(frozen=True)
class Setting:
    """A size of model on the batches of a corpus."""

    name: str
    corpus: str
    d_model: int
    n_heads: int
    d_ff: int
    n_layers: int
    batch_tokens: int


SETTINGS = (
    Setting("base", "tatoeba", 512, 8, 2048, 6, 2048),
    Setting("small", "tatoeba", 256, 4, 1024, 3, 2048),
    Setting("tiny", "multi30k", 128, 4, 256, 4, 8192),
)
VOCABULARY = 10_000
DROPOUT = 0.1


class Worker:
    """A toolkit in its process."""

    def __init__(self, toolkit: Toolkit, variant: str, precision: str, setup: dict[str, Any], folder: Path) -> None:
        self.toolkit, self.variant, self.precision = toolkit, variant, precision
        file = folder / f"{toolkit.module}-{variant}-{precision}.json"
        file.write_text(json.dumps({**setup, "variant": variant, "precision": precision}))
        self.errors = file.with_suffix(".err")
        self.process = subprocess.Popen(
            [_python(toolkit.environment), HERE / "peers" / "worker.py", toolkit.module, file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(setup["threads"])},
        )
        self.parameters = self._answer()["parameters"]
        self.memory = 0
        self.rounds: list[float] = []

    @property
    def label(self) -> str:
        return " ".join(part for part in (self.toolkit.name, self.variant, self.precision) if part)

    def round(self, batches: int) -> None:
        """One pass over the batches."""
        self.rounds.append(sum(self.step(i) for i in range(batches)))

    def step(self, batch: int) -> float:
        """Seconds of one step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{batch}\n")
        self.process.stdin.flush()
        answer = self._answer()
        self.memory = answer["memory"]
        return answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.toolkit.name} ended: {self.errors.read_text().strip().splitlines()[-1:]}")
        return json.loads(line)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _python(environment: str | None) -> Path:
    """The interpreter of an environment, which is made if there is none."""
    if environment is None:
        return Path(sys.executable)
    folder = HERE / ".environments" / environment
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        import torch

        version = torch.__version__.split("+")[0]
        wanted = [package.format(torch=version) for package in ENVIRONMENTS[environment]]
        print(f"installing {', '.join(wanted)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *wanted], check=True)
        (folder / "complete").touch()
    return python


@dataclass
class Batches:
    """Real batches of a corpus, on disk."""

    file: Path
    count: int
    tokens: int
    """Target tokens of all of them, without padding."""
    padding: float
    shapes: list[str] = field(default_factory=list)


def make_batches(setting: Setting, sources: dict[str, str], count: int, folder: Path) -> Batches:
    """The first batches that a training on the corpus would see."""
    from safetensors.torch import save_file

    import sightline as sl

    recipes = {"multi30k": "multi30k-en-de-tok", "tatoeba": "tatoeba-en-de"}
    recipe = recipes[setting.corpus] if setting.corpus in sources else "tatoeba-en-zh"
    path = [f"data.path={sources[setting.corpus]}"] if setting.corpus in sources else []
    chosen = (f"tokenizer.vocab_size={VOCABULARY}", f"train.batch_tokens={setting.batch_tokens}", "train.tensorboard=false")
    run = sl.load_run(recipe, *path, *chosen, out=folder / f"{recipe}-{setting.batch_tokens}")
    batches = [batch for batch, _ in zip(run.task.batches("train", 0), range(count), strict=False)]
    found = {
        f"{i}.{name}": getattr(batch, name)
        for i, batch in enumerate(batches)
        for name in ("src", "tgt_in", "tgt_out")
    }
    file = folder / f"{recipe}-{setting.batch_tokens}.safetensors"
    save_file(found, file)
    shapes = [f"{len(b.index)} x {b.src.shape[1]}/{b.tgt_in.shape[1]}" for b in batches]
    padding = statistics.mean(batch.padding for batch in batches)
    return Batches(file, len(batches), sum(batch.n_tgt for batch in batches), padding, shapes)


def measure(
    setting: Setting, batches: Batches, toolkits: Sequence[Toolkit], rounds: int, threads: int, folder: Path
) -> list[Worker]:
    """All toolkits on the same batches, in turn: first those of every variant, of which the fastest goes on."""
    from sightline.models.build import build_model  # noqa: F401  (the first import is slow, and not a worker's)

    sizes = {
        "d_model": setting.d_model,
        "n_heads": setting.n_heads,
        "d_ff": setting.d_ff,
        "n_layers": setting.n_layers,
        "vocab_size": VOCABULARY,
        "dropout": DROPOUT,
        "label_smoothing": 0.1,
        "max_len": 512,
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
    }
    setup = {"sizes": sizes, "threads": threads, "batches": str(batches.file)}
    workers = [_fastest(toolkit, precision, setup, batches.count, folder) for toolkit in toolkits for precision in ("bf16", "fp32")]
    workers.append(_fastest(PRODUCTS, "bf16", setup, batches.count, folder))
    for _ in range(rounds):
        for worker in workers:
            worker.round(batches.count)
    for worker in workers:
        worker.end()
    return workers


def _fastest(toolkit: Toolkit, precision: str, setup: dict[str, Any], batches: int, folder: Path) -> Worker:
    """A toolkit in its fastest variant, warmed up on every batch."""
    best: Worker | None = None
    for variant in toolkit.variants:
        worker = Worker(toolkit, variant, precision, setup, folder)
        for i in range(batches):
            worker.step(i)
        if len(toolkit.variants) > 1:
            worker.round(batches)
        if best is None or worker.rounds[0] < best.rounds[0]:
            best, worker = worker, best
        if worker is not None:
            worker.end()
    assert best is not None
    best.rounds.clear()
    return best


@dataclass(frozen=True)
class Row:
    """What one toolkit did in one number format."""

    toolkit: str
    precision: str
    rate: float
    """Target tokens a second, median."""
    ratio: float
    """sightline's rate in the faster of its formats over this one's, median of the rounds."""
    products: float
    """Time of the matrix products alone (bf16) over this step's."""
    memory: float
    """Peak GiB of the process."""


def rows(workers: list[Worker], tokens: int) -> Iterator[Row]:
    ours = min((w for w in workers if w.toolkit.name == "sightline"), key=lambda w: statistics.median(w.rounds))
    products = next(w for w in workers if w.toolkit is PRODUCTS)
    for w in workers:
        yield Row(
            w.toolkit.name + (f" ({w.variant})" if w.variant else ""),
            w.precision,
            tokens / statistics.median(w.rounds),
            statistics.median(b / a for a, b in zip(ours.rounds, w.rounds, strict=True)),
            statistics.median(p / b for p, b in zip(products.rounds, w.rounds, strict=True)),
            w.memory / 2**30,
        )


HEADER = ("", "format", "target tokens/s", "sightline is", "products", "peak memory")


def cells(row: Row) -> tuple[str, ...]:
    ratio = f"{row.ratio:.2f} times as fast"
    return (row.toolkit, row.precision, f"{row.rate:,.0f}", ratio, f"{row.products:.0%}", f"{row.memory:.2f} GiB")


def plot(results: dict[str, list[Row]], file: Path) -> None:
    """Bars of tokens a second, a panel a setting."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(4.2 * len(results), 3.4), squeeze=False)
    for panel, (name, found) in zip(panels[0], results.items(), strict=True):
        shown = [row for row in found if row.toolkit != PRODUCTS.name][::-1]
        colours = ["#d9480f" if row.toolkit == "sightline" else "#868e96" for row in shown]
        panel.barh([f"{row.toolkit}, {row.precision}" for row in shown], [row.rate for row in shown], color=colours)
        panel.set_title(name)
        panel.set_xlabel("target tokens a second")
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multi30k", help="folder of Multi30k's task1/tok files; without it the bundled corpus")
    parser.add_argument("--tatoeba", help="folder of Tatoeba's deu.txt.gz; without it the bundled corpus")
    parser.add_argument("--settings", nargs="+", choices=[s.name for s in SETTINGS], default=[s.name for s in SETTINGS])
    parser.add_argument("--toolkits", nargs="+", choices=[t.module[3:] for t in TOOLKITS], help="all, if not given")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="file for the tables; a plot is drawn beside it")
    args = parser.parse_args()
    sources = {name: getattr(args, name) for name in ("multi30k", "tatoeba") if getattr(args, name)}
    toolkits = [t for t in TOOLKITS if args.toolkits is None or t.module[3:] in {"sightline", *args.toolkits}]
    for environment in {t.environment for t in toolkits}:
        _python(environment)
    console, text = Console(), []
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for setting in (s for s in SETTINGS if s.name in args.settings):
            batches = make_batches(setting, sources, args.batches, folder)
            workers = measure(setting, batches, toolkits, args.rounds, args.threads, folder)
            results[setting.name] = list(rows(workers, batches.tokens))
            corpus = setting.corpus if setting.corpus in sources else "bundled corpus"
            title = (
                f"{setting.name}: d_model {setting.d_model}, {setting.n_layers}+{setting.n_layers} layers, "
                f"{workers[0].parameters / 1e6:.1f} M parameters, vocabulary {VOCABULARY:,}, dropout {DROPOUT}; "
                f"{corpus}, {batches.count} batches of {setting.batch_tokens:,} tokens, {batches.padding:.1%} padding "
                f"({', '.join(batches.shapes)}); {args.threads} threads, {args.rounds} rounds"
            )
            table = Table(*HEADER, title=title)
            for row in results[setting.name]:
                table.add_row(*cells(row))
            console.print(table)
            text += [f"## {title}", "", *_markdown(results[setting.name]), ""]
            if args.markdown is not None:  # after each setting, for the next may take long
                args.markdown.parent.mkdir(parents=True, exist_ok=True)
                args.markdown.write_text("\n".join(text))
    if args.markdown is not None:
        plot(results, args.markdown.with_suffix(".svg"))


def _markdown(found: list[Row]) -> Iterator[str]:
    yield f"| {' | '.join(HEADER)} |"
    yield f"|{'---|' * len(HEADER)}"
    for row in found:
        yield f"| {' | '.join(cells(row))} |"


if __name__ == "__main__":
    main()
