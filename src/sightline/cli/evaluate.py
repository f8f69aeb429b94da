"""`sightline evaluate`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from sightline.data.evaluation import Example
    from sightline.metrics.settings import MetricSettings
    from sightline.training.recipe import Expected

_NAMES = {"bleu": "BLEU", "tokenised_bleu": "tokenised BLEU", "chrf": "chrF"}


def evaluate(
    system: Annotated[
        Path | None,
        typer.Argument(
            metavar="SYSTEM",
            help="A trained folder, or a file of translations, one a line; the built-in model without it.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Settings of --recipe, as in data.path=DIR.")
    ] = None,
    src: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Source sentences, one a line; without it, the test set of the run or recipe."
        ),
    ] = None,
    ref: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Reference translations of --src, line by line; may be given several times."),
    ] = None,
    recipe: Annotated[str | None, typer.Option(metavar="RECIPE", help="Use the test set of this recipe.")] = None,
    split: Annotated[str, typer.Option(metavar="SPLIT", help="test or valid.")] = "test",
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="SYSTEM", help="Another trained folder or file of translations: is the difference chance?"
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="LANG", help="Target language, for models with several.")] = None,
    beam: Annotated[
        int | None, typer.Option(metavar="N", help="Beam width; the model's own setting without it.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(metavar="X", help="Above the model's own: longer translations.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the translations to this file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Score translations: sacreBLEU with its signature, chrF, TER, tokenised BLEU, BLEU by length; compare two systems."""
    from rich.console import Console

    from sightline.files import write_atomically

    console = Console()
    settings = settings or []
    if system is not None and "=" in str(system) and not system.exists():
        system, settings = None, [str(system), *settings]
    for path in (system, against):
        _check_system(path)
    examples, metric, expected, lang = _test_set(system, settings, src, ref, recipe, split, to)
    decoding = {k: v for k, v in (("beam", beam), ("length_penalty", length_penalty)) if v is not None}
    hyps = _translations(system, examples, decoding)
    other = None if against is None else _translations(against, examples, decoding)
    if output is not None:
        write_atomically(output, "".join(f"{hyp}\n" for hyp in hyps))
    report: dict[str, Any] = {}
    for direction in sorted({e.direction for e in examples}):
        rows = [i for i, e in enumerate(examples) if e.direction == direction]
        report[direction] = found = _figures(
            [examples[i] for i in rows],
            [hyps[i] for i in rows],
            None if other is None else [other[i] for i in rows],
            examples[rows[0]].to or lang,
            metric,
            [e for e in expected if e.direction == direction and split == "test"],
        )
        if not as_json:
            _show(console, direction, found)
    if as_json:
        print(json.dumps(report, ensure_ascii=False, indent=1))


def _figures(
    examples: "list[Example]",
    hyps: list[str],
    other: list[str] | None,
    lang: str,
    metric: "MetricSettings",
    expected: "list[Expected]",
) -> dict[str, Any]:
    """All figures of translations into one language, and of those of the other system if there is one."""
    from sightline.metrics.translation import bleu_by_length, evaluate_translations, paired_bootstrap

    refs, sources = [e.refs for e in examples], [e.src for e in examples]
    scores = evaluate_translations(hyps, refs, lang=lang, settings=metric)
    found: dict[str, Any] = {
        "scores": asdict(scores),
        "by_length": [asdict(b) for b in bleu_by_length(hyps, refs, sources, lang=lang, settings=metric)],
        "expected": [
            {**e.model_dump(exclude={"direction"}), "reached": getattr(scores, e.metric) >= e.score} for e in expected
        ],
    }
    if other is not None:
        found["against"] = asdict(paired_bootstrap(other, hyps, refs, lang=lang, settings=metric))
    return found


def _check_system(path: Path | None) -> None:
    """Raises ConfigError if this is neither a folder nor a file."""
    if path is None or path.exists():
        return
    from sightline.data.lines import similar_name
    from sightline.training.recipe import recipe_names

    known = str(path) in recipe_names()
    hint = f" To use the test set of the recipe: --recipe {path}." if known else similar_name(path)
    raise ConfigError(
        f"{path} does not exist: give a trained folder, or a file of translations, one a line, to evaluate.{hint}"
    )


def _test_set(
    system: Path | None,
    settings: list[str],
    src: Path | None,
    ref: list[Path] | None,
    recipe: str | None,
    split: str,
    to: str | None,
) -> "tuple[list[Example], MetricSettings, list[Expected], str]":
    """The sentences with their references, how they are scored, what score is expected, and the language."""
    from rich.console import Console

    from sightline.metrics.settings import MetricSettings

    if split not in ("test", "valid"):
        raise ConfigError(f"--split {split}: give test or valid.")
    trained = system is not None and system.is_dir()
    if src is not None or ref:
        if src is None or not ref:
            raise ConfigError("--src and --ref go together: source sentences and their reference translations.")
        from sightline.bundle import load_bundle
        from sightline.runtime.translator import BUILTIN

        bundle = load_bundle(BUILTIN if system is None else system) if trained or system is None else None
        if bundle is None:
            return _own_test(src, ref, to or ""), MetricSettings(), [], to or ""
        tags = bundle.tokenizer.tags
        if len(tags) > 2 and not to:
            raise ConfigError(f"This model translates to {', '.join(tags)}: say which one {ref[0]} is in, with --to.")
        several = len(tags) > 1  # then the references' script tells the language
        return (
            _own_test(src, ref, to or ""),
            bundle.config.metric,
            [],
            to or ("" if several else bundle.config.tgt_lang),
        )
    from sightline.cli.display import stages
    from sightline.data.evaluation import EvaluationSet, read_set
    from sightline.data.prepared import Prepared
    from sightline.training.recipe import data_folder, prepare_run, read_recipe

    if settings and recipe is None:
        raise ConfigError(f"{settings[0]} is a setting of a recipe, and none was given: name it with --recipe.")
    if recipe is not None:
        chosen = read_recipe(recipe, settings)
        folder = Path("runs") / f"{chosen.name}-evaluation"
        tgt_lang = chosen.data.train[0].tgt_lang
        given = [chosen.data.completed(corpus) for corpus in getattr(chosen.data, split)]
        if given:
            base, merge = data_folder(chosen, folder), chosen.data.merge_references
            sets = [read_set(corpus, base, chosen.data.directions(corpus), merge) for corpus in given]
            found = EvaluationSet.joined(sets).examples
        else:  # the sentences to hold out are only known once the corpus is prepared
            with stages(Console(stderr=True)) as progress:
                found = prepare_run(chosen, folder, progress).evaluation(split)
    elif trained and system is not None and (system / "recipe.toml").is_file():
        chosen, prepared = read_recipe(system / "recipe.toml", settings), Prepared.open(system / "data")
        found, tgt_lang = prepared.evaluation(split), prepared.tgt_lang
    else:
        raise ConfigError(
            "There is no test set: give --src FILE --ref FILE, or --recipe NAME (for the built-in model: "
            "--recipe tatoeba-en-de-fr-zh), or the folder of a run."
        )
    examples = [e for e in found if to is None or to == (e.to or tgt_lang)]
    if not examples:
        raise DataError(f"{chosen.name} has no {split} sentences{f' into {to}' if to else ''}. Give --src and --ref.")
    return examples, chosen.metric, chosen.expected, tgt_lang


def _own_test(src: Path, ref: list[Path], to: str) -> "list[Example]":
    from sightline.data.evaluation import Example
    from sightline.data.lines import open_lines

    sources = [line for _, line in open_lines(src)]
    columns = [[line for _, line in open_lines(path)] for path in ref]
    for path, lines in zip(ref, columns, strict=True):
        if len(lines) != len(sources):
            raise DataError(
                f"{src} has {len(sources)} lines and {path} has {len(lines)}. They must correspond line by line."
            )
    return [Example(s, tuple(refs), to) for s, *refs in zip(sources, *columns, strict=True)]


def _translations(system: Path | None, examples: "list[Example]", decoding: dict[str, Any]) -> list[str]:
    if system is not None and system.is_file():
        from sightline.data.lines import open_lines

        lines = [line for _, line in open_lines(system)]
        if len(lines) != len(examples):
            raise DataError(
                f"{system} has {len(lines)} translations and the test set {len(examples)} sentences. Translate each "
                "sentence of the test set, one a line, in its order."
            )
        return lines
    from sightline.runtime.translator import load

    found = load(system, precision="fp32").translate([e.src for e in examples], [e.to for e in examples], **decoding)
    return [best[0].text for best in found]


def _show(console: "Console", direction: str, found: dict[str, Any]) -> None:
    from sightline.cli.display import say

    s = found["scores"]
    title = f"{s['n_sentences']} sentences" + (f", {direction}" if direction else "")
    say(console, title)
    rows = [
        ("BLEU", f"{s['bleu']:.2f}", f"{s['bleu_signature']} (BP {s['brevity_penalty']:.3f})"),
        ("chrF", f"{s['chrf']:.2f}", s["chrf_signature"]),
        ("TER", f"{s['ter']:.2f}", s["ter_signature"]),
        ("tokenised BLEU", f"{s['tokenised_bleu']:.2f}", s["tokenised_signature"]),
    ]
    _print_columns(console, ("measure", "score", "signature"), rows)
    buckets = [
        f"{b['low']}-{b['high']}: {b['bleu']:.1f} ({b['n']})"
        if b["high"] is not None
        else f"{b['low']}+: {b['bleu']:.1f} ({b['n']})"
        for b in found["by_length"]
    ]
    say(console, f"BLEU by source length (sentences): {', '.join(buckets)}")
    for e in found["expected"]:
        verdict = "reached" if e["reached"] else "NOT reached"
        say(console, f"The recipe asks for {_NAMES[e['metric']]} >= {e['score']:g}: {verdict}. ({e['source']})")
        say(console, f"Reproduced by sightline: {e['reproduced'] or 'not yet'}.")
    if "against" in found:
        a = found["against"]
        say(
            console,
            f"Against the other: BLEU {a['difference']:+.2f} ({a['bleu_b']:.2f} here, {a['bleu_a']:.2f} there), "
            f"p = {a['p_value']:.3f} (paired bootstrap, {a['n']} samples)",
        )
    console.print()


def print_saved_scores(folder: Path, console: "Console") -> None:
    """The test scores that training wrote into a folder."""
    rows: list[tuple[str, ...]] = []
    for file in sorted(folder.glob("test*.json")):
        s = json.loads(file.read_text(encoding="utf-8"))
        name = f"{s['n_sentences']} sentences" + file.stem.removeprefix("test").replace("-", ", ", 1)
        rows.append((name, f"{s['bleu']:.2f}", f"{s['chrf']:.2f}", f"{s['ter']:.2f}", s["bleu_signature"]))
    if rows:
        _print_columns(console, ("test set", "BLEU", "chrF", "TER", "signature of BLEU"), rows)


def _print_columns(console: "Console", head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Names on the left, figures right-aligned, signatures last, for they are long.

    Not a table of rich, which cuts columns to fit the terminal: no figure may be cut, and a signature is to be copied whole.
    """
    from rich.text import Text

    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate((head, *rows)):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(row[1:-1], widths[1:-1], strict=True))]
        styles = ("bold",) * len(row) if number == 0 else ("",) * len(cells) + ("dim",)
        line = Text("  ").join(Text(cell, style) for cell, style in zip((*cells, row[-1]), styles, strict=True))
        console.print(line, soft_wrap=True)
