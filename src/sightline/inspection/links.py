"""The word alignment of a captured translation, as cross-attention shows it."""

from sightline.inspection.capture import Capture
from sightline.metrics.alignment import Links


def best_head(capture: Capture) -> tuple[int, int]:
    """Layer and head of the cross-attention that looks most like a word alignment: sharpness times monotonicity."""
    found = [each for each in capture.manifest.heads if each.align is not None]
    best = max(found, key=lambda each: each.align["sharp"] * each.align["mono"] if each.align else 0.0)
    return best.layer, best.head


def word_links(capture: Capture, layer: int, head: int | None = None) -> Links:
    """Every target token is linked to the source token that is looked at most when it is written, by a head or, without one, by
    the mean of the layer's; and the words are linked that hold them. Tags, begin and end are linked to nothing.
    """
    weights = capture.tensors[f"decoder.{layer}.cross_attn.weights"]
    rows = weights.mean(dim=0) if head is None else weights[head]
    columns = [i for i, token in enumerate(capture.manifest.src.tokens) if token.word >= 0]
    if not columns:
        return frozenset()
    found: set[tuple[int, int]] = set()
    for row, label in zip(rows, capture.manifest.labels, strict=True):
        if label.word >= 0:
            looked_at = columns[int(row[columns].argmax())]
            found.add((capture.manifest.src.tokens[looked_at].word, label.word))
    return frozenset(found)
