"""`sightline score`."""

import json
import math
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from sightline.errors import DataError

WINDOW = 512
"""Pairs that are scored together."""


def score(
    src: Annotated[Path, typer.Option(metavar="FILE", help="Source sentences, one a line.")],
    tgt: Annotated[Path, typer.Option(metavar="FILE", help="Translations of theirs, line by line.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Folder of a trained model; several count together. Without it the built-in one."
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(metavar="LANG", help="Target language, for models with several.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, with the log-probability of each token.")
    ] = False,
) -> None:
    """How probable a model finds translations that are already there.

    A line for each pair: the score (log-probability normalised by length as the model's decoding settings say), the
    log-probability in nats, and the number of tokens, the end counted. The perplexity of all goes to the standard error.
    """
    from sightline.runtime.translator import load

    translator = load(model, precision="fp32")
    total, tokens = 0.0, 0
    pairs = _pairs(src, tgt)
    while window := list(islice(pairs, WINDOW)):
        sources, translations = map(list, zip(*window, strict=True))
        for (text, translation), found in zip(window, translator.score(sources, translations, to), strict=True):
            total, tokens = total + found.log_prob, tokens + len(found.pieces)
            if as_json:
                content = {"source": text, "translation": translation, "score": found.score, "log_prob": found.log_prob}
                print(json.dumps({**content, "tokens": found.pieces}, ensure_ascii=False), flush=True)
            else:
                print(f"{found.score:.4f}\t{found.log_prob:.4f}\t{len(found.pieces)}", flush=True)
    if tokens:
        print(f"perplexity {math.exp(-total / tokens):.3f} a token, of {tokens:,} tokens", file=sys.stderr)


def _pairs(src: Path, tgt: Path) -> Iterator[tuple[str, str]]:
    from sightline.data.lines import open_lines

    sources, translations = ((text for _, text in open_lines(path)) for path in (src, tgt))
    number = 0
    while True:
        source, translation = next(sources, None), next(translations, None)
        if source is None and translation is None:
            return
        if source is None or translation is None:
            shorter, longer = (src, tgt) if source is None else (tgt, src)
            raise DataError(
                f"{shorter} has {number:,} lines and {longer} has more, but line by line each must translate the other."
            )
        number += 1
        yield source, translation
