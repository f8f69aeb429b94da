"""Training beside other toolkits: target tokens a second, memory, and how near the matrix products alone the step comes.

    python benchmarks/training.py                                        the bundled corpus
    python benchmarks/training.py --multi30k DIR --tatoeba DIR --markdown docs/benchmarks/training.md
    python benchmarks/training.py --device cuda --tatoeba DIR --settings base-gpu big-gpu

sightline, Hugging Face MarianMT, torch.nn.Transformer, x-transformers and JoeyNMT take the same steps: the same real
batches, the same sizes, dropout, label smoothing, clipping and Adam; each in its own process, float32 and bf16. Each takes turns
with sightline, pass by pass over the batches, and with the matrix products of sightline's step run alone. The first time each
takes a batch does not count. On a processor, peers are installed into `benchmarks/.environments` the first time (a few minutes);
with `--device cuda`, those that the environment has are taken.

Real target tokens are counted, not padding. A ratio is that of the medians of the turns taken together. "Products" is the time of
the matrix products alone (bf16) over the time of the step; "of peak" that of one large product of as many operations.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
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
    """A program to be timed."""

    module: str
    name: str
    environment: str | None = None
    """None: the one this script runs in."""
    variants: Sequence[str] = ("",)
    """Ways a toolkit can be set up; all are tried, the fastest counts."""
    on_gpu: Sequence[str] = ("",)
    """The same on a GPU."""


OURS = Toolkit("of_sightline", "sightline", on_gpu=("compiled", ""))
PEERS = (
    Toolkit("of_hugging_face", "Hugging Face MarianMT", "peers", ("sdpa", "eager"), ("sdpa", "sdpa compiled")),
    Toolkit("of_torch_nn", "torch.nn.Transformer", "peers", ("",), ("", "compiled")),
    Toolkit("of_x_transformers", "x-transformers", "peers", ("", "flash"), ("flash", "flash compiled")),
    Toolkit("of_joeynmt", "JoeyNMT", "joeynmt", ("",), ()),
)
PRODUCTS = Toolkit("of_matmuls", "matrix products alone")
PEAK = Toolkit("of_matmuls", "one large product", variants=("square",))


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
    vocab_size: int = 10_000


SETTINGS = (
    Setting("base", "tatoeba", 512, 8, 2048, 6, 2048),
    Setting("small", "tatoeba", 256, 4, 1024, 3, 2048),
    Setting("tiny", "multi30k", 128, 4, 256, 4, 8192),
    Setting("base-gpu", "tatoeba", 512, 8, 2048, 6, 25_000, 32_000),
    Setting("big-gpu", "tatoeba", 1024, 16, 4096, 6, 25_000, 32_000),
)
DROPOUT = 0.1


class Ended(Exception):
    """A toolkit that ended before it was told to, and what it said."""


class Worker:
    """A toolkit in its process, which starts at once; `warm` waits for it."""

    def __init__(self, toolkit: Toolkit, variant: str, precision: str, setup: dict[str, Any], folder: Path) -> None:
        self.toolkit, self.variant, self.precision, self.setup = toolkit, variant, precision, setup
        name = f"{toolkit.module}-{variant}-{precision}".replace(" ", "-")
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**setup, "variant": variant, "precision": precision}))
        self.errors = file.with_suffix(".err")
        python = python_of(None if setup["device"] == "cuda" else toolkit.environment)
        self.process = subprocess.Popen(
            [python, HERE / "peers" / "worker.py", toolkit.module, file, setup["device"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(setup["threads"])},
        )
        self.memory, self.warmed = 0, False
        self.first = setup["count"] * (
            2 if setup["device"] == "cuda" else 1
        )  # twice, for what is recorded the second time
        for k in range(self.first):
            self._ask(k % setup["count"])

    def warm(self) -> None:
        """Wait for the first passes, which do not count."""
        if self.warmed and self.process.poll() is None:
            return
        self.warmed = True
        self.parameters = self._answer()["parameters"]
        for _ in range(self.first):
            self._answer()

    def turn(self) -> float:
        """Seconds of one pass over the batches."""
        seconds = 0.0
        for batch in range(self.setup["count"]):
            self._ask(batch)
            answer = self._answer()
            seconds += answer["seconds"]
            self.memory = answer["memory"]
        return seconds

    def _ask(self, batch: int) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{batch}\n")
            self.process.stdin.flush()
        except OSError:
            self._ended()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else self._ended()

    def _ended(self) -> Any:
        said = self.errors.read_text().strip().splitlines()[-1:] or ["without a word"]
        raise Ended(f"ended with status {self.process.wait()}: {said[0][:200]}")

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def python_of(environment: str | None) -> Path:
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
    """The first batches that a training on the corpus would see; those in the folder, if it has them already."""
    from safetensors.torch import load_file, save_file

    file = folder / f"{setting.corpus}-{setting.vocab_size}-{setting.batch_tokens}-{count}.safetensors"
    if not file.is_file():
        import sightline as sl

        recipes = {"multi30k": "multi30k-en-de-tok", "tatoeba": "tatoeba-en-de"}
        recipe = recipes[setting.corpus] if setting.corpus in sources else "tatoeba-en-zh"
        path = [f"data.path={sources[setting.corpus]}"] if setting.corpus in sources else []
        chosen = (f"tokenizer.vocab_size={setting.vocab_size}", f"train.batch_tokens={setting.batch_tokens}")
        run = sl.load_run(recipe, *path, *chosen, "train.tensorboard=false", out=folder / file.stem)
        batches = [batch for batch, _ in zip(run.task.batches("train", 0), range(count), strict=False)]
        names = ("src", "tgt_in", "tgt_out", "real")
        save_file({f"{i}.{name}": getattr(batch, name) for i, batch in enumerate(batches) for name in names}, file)
    found = load_file(file)
    count = 1 + max(int(name.split(".")[0]) for name in found)
    sizes = [(found[f"{i}.src"], found[f"{i}.tgt_out"]) for i in range(count)]
    shapes = [f"{len(src)} x {src.shape[1]}/{tgt.shape[1]}" for src, tgt in sizes]
    padding = statistics.mean(
        1 - int((src != 0).sum() + (tgt != 0).sum()) / (src.numel() + tgt.numel()) for src, tgt in sizes
    )
    return Batches(file, count, sum(len(found[f"{i}.real"]) for i in range(count)), padding, shapes)


@dataclass(frozen=True)
class Row:
    """What one toolkit did in one number format."""

    toolkit: str
    precision: str
    rate: float = 0.0
    """Target tokens a second, median."""
    ratio: float = 0.0
    """sightline's rate in the faster of its formats over this one's, both medians of the same turns."""
    products: float = 0.0
    """Time of the matrix products alone (bf16) over this step's."""
    peak: float = 0.0
    """The same of one large product."""
    memory: float = 0.0
    """Peak GiB of the process, or on the GPU."""
    failed: str = ""
    """Why there is no figure."""


def measure(
    setting: Setting, batches: Batches, toolkits: Sequence[Toolkit], args: argparse.Namespace, folder: Path
) -> Iterator[Row]:
    """sightline's rows, then those of the others, each as it comes."""
    sizes = {
        "d_model": setting.d_model,
        "n_heads": setting.n_heads,
        "d_ff": setting.d_ff,
        "n_layers": setting.n_layers,
        "vocab_size": setting.vocab_size,
        "dropout": DROPOUT,
        "label_smoothing": 0.1,
        "max_len": 512,
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
    }
    setup = {
        "sizes": sizes,
        "threads": args.threads,
        "batches": str(batches.file),
        "count": batches.count,
        "device": args.device,
    }

    def start(toolkit: Toolkit, variant: str, precision: str) -> Worker:
        return Worker(toolkit, variant, precision, setup, folder)

    def variants(toolkit: Toolkit) -> Sequence[str]:
        return toolkit.on_gpu if args.device == "cuda" else toolkit.variants

    def row(name: str, worker: Worker, seconds: list[float], ours: list[float]) -> Row:
        middle = statistics.median(seconds)
        return Row(
            name,
            worker.precision,
            batches.tokens / middle,
            middle / statistics.median(ours),
            floor[0] / middle,
            floor[1] / middle,
            worker.memory / 2**30,
        )

    def label(worker: Worker) -> str:
        return worker.toolkit.name + (f" ({worker.variant})" if worker.variant else "")

    with ExitStack() as alive:
        mine = [start(OURS, variant, precision) for precision in args.formats for variant in variants(OURS)]
        floors = [start(PRODUCTS, "", "bf16"), start(PEAK, "square", "bf16")]
        others = [
            (toolkit, variant, precision)
            for toolkit in toolkits
            for precision in args.formats
            for variant in variants(toolkit)
            if variant not in args.without
        ]
        others.sort(key=lambda each: "compiled" in each[1])  # those that take long to start come last
        ready = {each: start(*each) for each in others} if args.device == "cuda" else {}
        for worker in [*mine, *floors, *ready.values()]:
            alive.enter_context(worker)
        for worker in [*mine, *floors]:
            worker.warm()
        for each, worker in ready.items():
            if "compiled" not in each[1]:
                with suppress(Ended):
                    worker.warm()
        turns = [[worker.turn() for worker in [*mine, *floors]] for _ in range(args.rounds)]
        seconds = list(zip(*turns, strict=True))
        floor = [statistics.median(seconds[len(mine) + k]) for k in (0, 1)]
        order = sorted(range(len(mine)), key=lambda k: statistics.median(seconds[k]))
        fastest = mine[order[0]]
        own = list(seconds[order[0]])
        for k in order:
            yield row(label(mine[k]), mine[k], list(seconds[k]), own)
            if mine[k] is not fastest:
                mine[k].__exit__()
        for k, worker in enumerate(floors):
            yield row(worker.toolkit.name, worker, list(seconds[len(mine) + k]), own)
            worker.__exit__()
        for each in others:
            try:
                with ready.get(each) or start(*each) as worker:
                    worker.warm()
                    pairs = [(fastest.turn(), worker.turn()) for _ in range(args.rounds)]
                    yield row(label(worker), worker, [theirs for _, theirs in pairs], [ours for ours, _ in pairs])
            except Ended as error:
                yield Row(f"{each[0].name} ({each[1]})", each[2], failed=str(error))


HEADER = ("", "format", "target tokens/s", "sightline is", "products", "of peak", "peak memory")


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    if row.failed:
        return (row.toolkit, row.precision, row.failed, "", "", "", "")
    figures = (f"{row.rate:,.0f}", f"{row.ratio:.2f} times as fast", f"{row.products:.0%}", f"{row.peak:.0%}")
    return (row.toolkit, row.precision, *figures, f"{row.memory:.2f} GiB")


def plot(results: dict[str, list[Row]], file: Path) -> None:
    """Bars of tokens a second, a panel a setting."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "sightline"  # the same figures, the same file
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(results), figsize=(5 * len(results), 4), squeeze=False)
    for panel, (name, found) in zip(panels[0], results.items(), strict=True):
        hidden = {PRODUCTS.name, PEAK.name}
        shown = [row for row in found if row.toolkit not in hidden and not row.failed][::-1]
        colours = ["#d9480f" if row.toolkit.startswith("sightline") else "#868e96" for row in shown]
        panel.barh([f"{row.toolkit}, {row.precision}" for row in shown], [row.rate for row in shown], color=colours)
        panel.set_title(name)
        panel.set_xlabel("target tokens a second")
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multi30k", help="folder of Multi30k's task1/tok files; without it the bundled corpus")
    parser.add_argument("--tatoeba", help="folder of Tatoeba's deu.txt.gz; without it the bundled corpus")
    parser.add_argument("--settings", nargs="+", choices=[s.name for s in SETTINGS], default=["base", "small", "tiny"])
    names = [t.module.removeprefix("of_") for t in PEERS]
    parser.add_argument("--toolkits", nargs="*", choices=names, default=names, help="the peers; all, if not given")
    parser.add_argument("--formats", nargs="+", choices=["bf16", "fp32"], default=["bf16", "fp32"])
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="VARIANT", help="variants of the peers to leave out"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder that keeps the batches; a temporary one, if not given")
    parser.add_argument("--markdown", type=Path, help="file for the tables; a plot is drawn beside it")
    args = parser.parse_args()
    sources = {name: getattr(args, name) for name in ("multi30k", "tatoeba") if getattr(args, name)}
    toolkits = [t for t in PEERS if t.module.removeprefix("of_") in args.toolkits]
    if args.device == "cpu":
        for environment in {t.environment for t in toolkits}:
            python_of(environment)
    console, text = Console(), []
    results: dict[str, list[Row]] = {}
    with ExitStack() as stack:
        folder = args.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        for setting in (s for s in SETTINGS if s.name in args.settings):
            batches = make_batches(setting, sources, args.batches, folder)
            results[setting.name] = []
            for row in measure(setting, batches, toolkits, args, folder):
                results[setting.name].append(row)
                print("  ".join(cells(row)), file=sys.stderr, flush=True)  # as it comes, for the whole may take long
            corpus = setting.corpus if setting.corpus in sources else "bundled corpus"
            title = (
                f"{setting.name}: d_model {setting.d_model}, {setting.n_layers}+{setting.n_layers} layers, "
                f"vocabulary {setting.vocab_size:,}, dropout {DROPOUT}; {corpus}, {batches.count} batches of "
                f"{setting.batch_tokens:,} tokens, {batches.padding:.1%} padding ({', '.join(batches.shapes)}); "
                f"{machine(args)}, {args.rounds} rounds"
            )
            table = Table(*HEADER, title=title)
            for row in results[setting.name]:
                table.add_row(*cells(row))
            console.print(table)
            text += [f"## {title}", "", *_markdown(results[setting.name]), ""]
            if args.markdown is not None:
                args.markdown.parent.mkdir(parents=True, exist_ok=True)
                args.markdown.write_text("\n".join(text))
    if args.markdown is not None:
        plot(results, args.markdown.with_suffix(".svg"))


def machine(args: argparse.Namespace) -> str:
    """What was measured on."""
    import torch

    from sightline.cli.doctor import processor

    return torch.cuda.get_device_name(0) if args.device == "cuda" else f"{processor()}, {args.threads} threads"


def _markdown(found: list[Row]) -> Iterator[str]:
    yield f"| {' | '.join(HEADER)} |"
    yield f"|{'---|' * len(HEADER)}"
    for row in found:
        yield f"| {' | '.join(cells(row))} |"


if __name__ == "__main__":
    main()
