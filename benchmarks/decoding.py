"""Translating beside other engines: sentences a second, latency, memory, cold start, and that the translations are as good.

    python benchmarks/decoding.py                                     the built-in model, its test set, English to Chinese
    python benchmarks/decoding.py --model runs/base --src test.en --ref test.de --markdown table.md
    python benchmarks/decoding.py --untrained --count 128             the paper's base size, translations of exactly 24 tokens

sightline, CTranslate2 and Hugging Face's `generate` translate the same sentences with the same weights (`sightline export`),
under one rule: the beam stops when as many as it is wide are finished, scores are divided by the length. Each in its own process,
each in every variant; the batch that is best for it is found first. Then all take turns: the whole file, then one sentence
after another. Times are medians; sightline's begin with text, those of the others with tokens.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
BATCHES = (16, 32, 64, 128, 256)
LENGTH = 24
"""Tokens of a translation by an untrained model, which does not know where to end."""
VARIANTS = {
    "sightline": ("of_sightline", ("int8", "bf16", "fp32")),
    "CTranslate2": ("of_ctranslate2", ("int8 1x2", "int8 2x1", "float32 1x2", "float32 2x1")),
    "Hugging Face": ("of_hugging_face", ("bf16", "fp32")),
}


@dataclass
class Worker:
    """An engine in its process."""

    name: str
    variant: str
    process: subprocess.Popen[str]
    tokenizer: Any
    cold: float = 0.0
    """Seconds from the start of the process to its first translation."""
    imports: int = 0
    peak: int = 0
    batch: dict[int, int] = field(default_factory=dict)
    """By beam, the batch that was best."""
    file: dict[int, list[float]] = field(default_factory=dict)
    """By beam, seconds for the whole file."""
    alone: dict[int, list[float]] = field(default_factory=dict)
    """By beam, seconds of each sentence on its own."""
    texts: dict[int, list[str]] = field(default_factory=dict)

    def ask(self, numbers: Sequence[int], beam: int, batch: int, alone: bool = False) -> tuple[list[float], list[str]]:
        assert self.process.stdin is not None
        task = {"numbers": list(numbers), "beam": beam, "batch": batch, "alone": alone}
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.peak = answer["peak"]
        found = answer["found"]
        return answer["seconds"], [f if isinstance(f, str) else self.tokenizer.decode_tgt(f) for f in found]

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"{self.name} {self.variant} ended with status {self.process.wait()}: its errors are above"
            )
        return json.loads(line)


def start(name: str, variant: str, setup: dict[str, Any], folder: Path, tokenizer: Any) -> Worker:
    module = VARIANTS[name][0]
    file = folder / f"{module}-{variant}.json".replace(" ", "-")
    file.write_text(json.dumps({**setup, "variant": variant}))
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, HERE / "engines" / "worker.py", module, file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
    )
    worker = Worker(name, variant, process, tokenizer)
    worker.imports = worker.answer()["imports"]
    worker.cold = time.perf_counter() - began
    return worker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a trained model; the built-in one, if not given")
    parser.add_argument(
        "--untrained", action="store_true", help="a base model with first weights; its BLEU means nothing"
    )
    parser.add_argument("--src", type=Path, help="sentences; those of the bundled test set, if not given")
    parser.add_argument("--ref", type=Path, help="their translations")
    parser.add_argument("--to", default="", help="target language, for models with several")
    parser.add_argument(
        "--shortlist", action="store_true", help="the model's shortlist for sightline, and as a vmap for CTranslate2"
    )
    parser.add_argument("--count", type=int, default=1000, help="sentences of the file")
    parser.add_argument("--alone", type=int, default=100, help="sentences that are translated one by one")
    parser.add_argument("--beams", type=int, nargs="+", default=[4, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--leave-out", nargs="+", default=[], help='variants that are not measured, as in bf16 "int8 1x2"'
    )
    parser.add_argument("--engines", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--markdown", type=Path, help="file for the table; a plot is drawn beside it")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as alive:
        measure(args, Path(made), alive)


def measure(args: argparse.Namespace, folder: Path, alive: ExitStack) -> None:
    from sightline.bundle import load_bundle
    from sightline.interop.ctranslate2 import export_ctranslate2
    from sightline.interop.hugging_face import export_hugging_face
    from sightline.metrics.translation import corpus_bleu
    from sightline.runtime.translator import BUILTIN

    path = untrained(folder / "untrained base") if args.untrained else args.model or BUILTIN
    bundle = load_bundle(path)
    texts, refs, to = sentences(args, bundle)
    tokenizer = bundle.tokenizer
    ids = tokenizer.encode_src(texts, to)
    names = tokenizer.names_src()
    shared = {
        "threads": args.threads,
        "texts": texts,
        "to": to,
        "ids": ids,
        "pieces": [[names[i] for i in row[:-1]] for row in ids],
        "names": tokenizer.names_tgt(),
        "length": LENGTH if args.untrained else 0,
        "shortlist": args.shortlist,
    }
    folders: dict[str, dict[str, Any]] = {"sightline": {"folder": str(path)}}
    if "CTranslate2" in args.engines:
        export_ctranslate2(bundle, folder / "ctranslate2")
        if args.shortlist:
            (folder / "ctranslate2" / "vmap.txt").write_text(vocabulary_map(path, tokenizer, to), encoding="utf-8")
        folders["CTranslate2"] = {"folder": str(folder / "ctranslate2")}
    if "Hugging Face" in args.engines:
        name = export_hugging_face(bundle, folder / "hugging-face")
        folders["Hugging Face"] = {"folder": str(folder / "hugging-face"), "class": name}
    workers: list[Worker] = []
    for engine in args.engines:
        for variant in (each for each in VARIANTS[engine][1] if each not in args.leave_out):
            worker = start(engine, variant, {**shared, **folders[engine]}, folder, tokenizer)
            alive.callback(worker.process.kill)
            workers.append(worker)
    everything = range(len(texts))
    for worker in workers:
        for beam in args.beams:
            tried: dict[int, float] = {}
            for batch in BATCHES:
                tried[batch] = worker.ask(everything, beam, batch)[0][0]
            worker.batch[beam] = min(tried, key=lambda batch: tried[batch])
            worker.texts[beam] = worker.ask(everything, beam, worker.batch[beam])[1]
            rates = {batch: round(len(texts) / seconds) for batch, seconds in tried.items()}
            print(worker.name, worker.variant, "beam", beam, rates, file=sys.stderr)
    for _ in range(args.rounds):
        for beam in args.beams:
            for worker in workers:
                worker.file.setdefault(beam, []).extend(worker.ask(everything, beam, worker.batch[beam])[0])
    some = range(0, len(texts), max(1, len(texts) // args.alone))
    for beam in args.beams:
        for worker in workers:
            worker.alone.setdefault(beam, []).extend(worker.ask(some, beam, 1, alone=True)[0])
    lang = to or bundle.config.tgt_lang
    scores = {
        (id(worker), beam): corpus_bleu(worker.texts[beam], refs, lang=lang, settings=bundle.config.metric).score
        for worker in workers
        for beam in args.beams
    }
    report(args, workers, scores, texts, f"{path.name}: {bundle.config.model.d_model} wide, {len(texts)} sentences")


def vocabulary_map(path: Path, tokenizer: Any, to: str) -> str:
    """The shortlist of a model as CTranslate2 reads it: a source token, a tab, target tokens; first those for every sentence."""
    from sightline.decoding.shortlist import Shortlist

    found = Shortlist.load(path, (tokenizer.src_vocab_size, tokenizer.tgt_vocab_size))
    lexicon = found.lexicons[tokenizer.tag_id(to) if to else -1]
    src, tgt = tokenizer.names_src(), tokenizer.names_tgt()
    rows = [("", lexicon.always)]
    rows += [(name, lexicon.tokens[lexicon.starts[i] : lexicon.starts[i + 1]]) for i, name in enumerate(src)]
    return "".join(f"{name}\t{' '.join(tgt[token] for token in row)}\n" for name, row in rows if len(row))


def untrained(folder: Path) -> Path:
    """A model of the paper's base size with the tokenizer of the built-in one."""
    import torch

    from sightline.bundle import Bundle, load_bundle, save_bundle
    from sightline.models.build import build_model
    from sightline.models.config import TransformerConfig
    from sightline.runtime.translator import BUILTIN

    known = load_bundle(BUILTIN)
    torch.manual_seed(1)
    config = TransformerConfig()
    model = build_model(config, known.tokenizer.src_vocab_size, known.tokenizer.tgt_vocab_size)
    folder.mkdir()
    save_bundle(folder, Bundle(known.config.model_copy(update={"model": config}), model, known.tokenizer, ""))
    return folder


def sentences(args: argparse.Namespace, bundle: Any) -> tuple[list[str], list[list[str]], str]:
    """Sources, the references of each, and the tag of their language."""
    if args.src is not None:
        texts = args.src.read_text(encoding="utf-8").splitlines()[: args.count]
        refs = [[line] for line in args.ref.read_text(encoding="utf-8").splitlines()[: args.count]]
        return texts, refs, args.to
    from sightline.data.sources import CorpusSettings, read_pairs

    to = args.to or "zh"
    found: dict[str, list[str]] = {}
    for row in read_pairs(CorpusSettings(pairs=f"bundled:tatoeba-en-{to}.test.tsv.gz"), Path()):
        found.setdefault(row.src, []).append(row.tgt)
    texts = list(found)[: args.count]
    return texts, [found[text] for text in texts], to


HEADER = (
    "",
    "beam",
    "batch",
    "sentences/s",
    "sightline is times as fast",
    "p50 / p99 alone",
    "BLEU",
    "memory",
    "cold start",
)


def report(
    args: argparse.Namespace, workers: list[Worker], scores: dict[tuple[int, int], float], texts: list[str], title: str
) -> None:
    from sightline.cli.doctor import processor

    title = f"{title}; {processor()}, {args.threads} threads, {args.rounds} rounds"
    lines: list[str] = [f"## {title}", "", f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
    table = Table(*HEADER, title=title)
    for beam in args.beams:
        own = min(statistics.median(w.file[beam]) for w in workers if w.name == "sightline")
        for worker in sorted(workers, key=lambda w: statistics.median(w.file[beam])):
            seconds, alone = statistics.median(worker.file[beam]), sorted(worker.alone[beam])
            row = (
                f"{worker.name} {worker.variant}",
                str(beam),
                str(worker.batch[beam]),
                f"{len(texts) / seconds:,.0f}",
                f"{seconds / own:.2f}",
                f"{1000 * statistics.median(alone):.1f} / {1000 * alone[int(0.99 * (len(alone) - 1))]:.1f} ms",
                f"{scores[id(worker), beam]:.2f}",
                f"{(worker.peak - worker.imports) / 2**20:,.0f} of {worker.peak / 2**20:,.0f} MiB",
                f"{worker.cold:.2f} s",
            )
            table.add_row(*row)
            lines.append(f"| {' | '.join(row)} |")
    Console(width=170).print(table)
    if args.markdown is not None:
        args.markdown.write_text("\n".join([*lines, ""]))
        plot(args, workers, len(texts), args.markdown.with_suffix(".svg"))


def plot(args: argparse.Namespace, workers: list[Worker], count: int, file: Path) -> None:
    """Bars of sentences a second, a panel a beam, and of the time that a sentence alone takes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "sightline"  # the same figures, the same file
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(args.beams) + 1, figsize=(3.4 * (len(args.beams) + 1), 3.2), squeeze=False)
    named = [(f"{w.name} {w.variant}", w) for w in workers][::-1]
    colours = ["#d9480f" if w.name == "sightline" else "#868e96" for _, w in named]
    drawn = [
        (f"beam {beam}: sentences a second", lambda w, b=beam: count / statistics.median(w.file[b]))
        for beam in args.beams
    ]
    widest = max(args.beams)
    drawn.append((f"beam {widest}, a sentence alone: ms", lambda w: 1000 * statistics.median(w.alone[widest])))
    for place, (panel, (title, value)) in enumerate(zip(panels[0], drawn, strict=True)):
        panel.barh([name for name, _ in named], [value(w) for _, w in named], color=colours)
        panel.set_title(title, fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
        if place:
            panel.set_yticks([])
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main()
