"""Writes tests/golden/alignments.json: what Python says of alignments, which the page must say too.

Give `python tests/golden/write_alignments.py` after a change that is meant to alter it.
"""

import json
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from sightline.inspection.alignment import Pieces, _links
from sightline.inspection.capture import Capture
from sightline.inspection.links import best_head, word_links
from sightline.inspection.pack import read_trace
from sightline.metrics.alignment import Gold, Links, alignment_error_rate, pharaoh, read_pharaoh, symmetrise

FOLDER = Path(__file__).resolve().parent
PATH = FOLDER / "alignments.json"


def alignments() -> dict[str, Any]:
    """Everything that is in the file."""
    numbers = random.Random(3)
    return {
        "scores": [_scored(numbers, size) for size in (0, 1, 3, 5, 8, 12) for _ in range(4)],
        "read": [{"line": line, "first": first, **_read(line, first)} for line, first in LINES],
        "traces": {path.stem: _trace(_capture(path)) for path in sorted((FOLDER / "traces").glob("*.ttrace"))},
    }


LINES = [("", 0), ("0-0 1-2 3p4", 0), ("1?2 1-2", 0), ("  2-1\t0-3 \n", 0), ("1-1 2p3", 1), ("10-2 2-0 2-11", 0)]


def _read(line: str, first: int) -> dict[str, Any]:
    gold = read_pharaoh(line, first)
    return {"sure": sorted(gold.sure), "possible": sorted(gold.possible)}


def _scored(numbers: random.Random, size: int) -> dict[str, Any]:
    places = [(i, j) for i in range(6) for j in range(5)]
    found, back = (frozenset(numbers.sample(places, size)) for _ in range(2))
    sure = frozenset(numbers.sample(places, numbers.randrange(8)))
    possible = sure | frozenset(numbers.sample(places, numbers.randrange(8)))
    scores = alignment_error_rate([found], [Gold(sure, possible)])
    return {
        "found": sorted(found),
        "back": sorted(back),
        "sure": sorted(sure),
        "possible": sorted(possible),
        "error_rate": scores.error_rate,
        "precision": scores.precision,
        "recall": scores.recall,
        "pharaoh": pharaoh(found),
        **{how: pharaoh(symmetrise(found, back, how)) for how in ("intersection", "union", "grow-diag")},
    }


class _Said(dict[str, Any]):
    """An object of JSON whose fields are attributes too."""

    __getattr__ = dict.__getitem__


def _capture(path: Path) -> Capture:
    manifest, arrays = read_trace(path)
    said = json.loads(json.dumps(manifest), object_hook=_Said)
    tensors = {name: torch.from_numpy(each) for name, each in arrays.items()}
    return cast(Capture, SimpleNamespace(manifest=said, tensors=tensors))


def _trace(capture: Capture) -> dict[str, Any]:
    """Word links of every head, and of the mean of each layer, read where words come out and where they go in."""
    [cross] = [each for each in capture.manifest.model.stacks if each.name == "decoder.cross_attn"]
    links: dict[str, dict[str, str]] = {}
    for layer in range(cross.layers):
        for head in (None, *range(cross.heads[layer])):
            name = f"{layer}.{'mean' if head is None else head}"
            links[name] = {
                "out": pharaoh(word_links(capture, layer, head)),
                "in": pharaoh(_going_in(capture, layer, head)),
            }
    return {"best": list(best_head(capture)), "links": links}


def _going_in(capture: Capture, layer: int, head: int | None) -> Links:
    src, tgt = capture.manifest.src.tokens, capture.manifest.tgt.tokens
    weights = capture.tensors[f"decoder.{layer}.cross_attn.weights"]
    rows = weights.mean(dim=0) if head is None else weights[head]
    sides = [Pieces([t.id for t in side if t.word >= 0], [t.word for t in side if t.word >= 0]) for side in (src, tgt)]
    return _links(rows, sides[0], sides[1], src[0].word < 0, True)


if __name__ == "__main__":
    PATH.write_text(json.dumps(alignments(), indent=1) + "\n", encoding="utf-8")
