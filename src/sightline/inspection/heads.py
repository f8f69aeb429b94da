"""What an attention head does in a sentence, measured, and the name that it earns."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sightline.inspection.manifest import HeadStat, StackInfo, Token

NAMED = 0.5
"""The mean weight from which a head is named for where it looks."""
BROAD = 0.9
"""The entropy from which it is named broad."""
PLACES = ("previous", "next", "self", "same", "first", "eos")


def head_stats(
    weights: Float[Tensor, "h q k"], stack: StackInfo, layer: int, queries: Sequence[Token], keys: Sequence[Token]
) -> list[HeadStat]:
    """The statistics of each head of one attention; `queries` and `keys` are the tokens of its rows and columns."""
    weights = weights.double()
    crossed = stack.q != stack.k
    visible = torch.ones(weights.shape[1:], dtype=torch.bool)
    if stack.causal:
        visible = visible.tril()
    entropy, peak = _entropy(weights, visible), weights.amax(dim=2).mean(dim=1)
    where = _where(queries, keys, crossed, visible)
    on = {place: _mean_weight(weights, where[place]) for place in PLACES}
    found: list[HeadStat] = []
    for head in range(len(weights)):
        means = {place: _short(float(on[place][head])) for place in PLACES}
        name, score = name_of(means, float(entropy[head]), len(keys))
        found.append(
            HeadStat(
                stack=stack.name,
                layer=layer,
                head=head,
                entropy=_short(float(entropy[head])),
                max=_short(float(peak[head])),
                prev=means["previous"],
                next=means["next"],
                self=means["self"],
                same=means["same"],
                first=means["first"],
                eos=means["eos"],
                name=name,
                score=_short(score),
                align=alignment_quality(weights[head], keys) if crossed else None,
            )
        )
    return found


def name_of(means: dict[str, float], entropy: float, keys: int) -> tuple[str | None, float]:
    """A name and the score that earned it: the place which gets most of the weight, if that is `NAMED` or more; `broad` if the
    entropy is `BROAD` or more; else none, with the largest mean. With fewer than three keys no place means anything.
    """
    place = max(PLACES, key=lambda each: means[each])  # the first of equals
    if keys >= 3 and means[place] >= NAMED:
        return place, means[place]
    return ("broad", entropy) if keys >= 3 and entropy >= BROAD else (None, means[place])


def _entropy(weights: Float[Tensor, "h q k"], visible: Bool[Tensor, "q k"]) -> Float[Tensor, " h"]:
    """The mean over queries that see more than one key; 0 if there are none."""
    count = visible.sum(dim=1)
    several = count > 1
    if not several.any():
        return weights.new_zeros(len(weights))
    nats = -torch.special.xlogy(weights, weights).sum(dim=2)[:, several]
    return (nats / count[several].double().log()).mean(dim=1).clamp(0.0, 1.0)


def _where(
    queries: Sequence[Token], keys: Sequence[Token], crossed: bool, visible: Bool[Tensor, "q k"]
) -> dict[str, Bool[Tensor, "q k"]]:
    """Of each place, which keys are there for which query. Between two sentences there is no previous, next or self."""
    q, k = torch.arange(len(queries))[:, None], torch.arange(len(keys))[None, :]
    nowhere = torch.zeros_like(visible)
    texts = {text: i for i, text in enumerate({_written(each) for each in (*queries, *keys)} - {None})}
    ids = [torch.tensor([texts.get(_written(each), -1) for each in side]) for side in (queries, keys)]
    same = ((ids[0][:, None] == ids[1][None, :]) & (ids[0] >= 0)[:, None]).view_as(visible)
    last = keys[-1]
    ends = torch.zeros(len(keys), dtype=torch.bool)
    ends[-1] = last.special and last.piece == "</s>"
    return {
        "previous": nowhere if crossed else (k == q - 1) & visible,
        "next": nowhere if crossed else (k == q + 1) & visible,
        "self": nowhere if crossed else (k == q) & visible,
        "same": (same if crossed else same & (k != q)) & visible,
        "first": (k == 0) & visible,
        "eos": ends[None, :] & visible,
    }


def _written(token: Token) -> str | None:
    """The text by which a token is the same as another; None for one that is like no other."""
    return None if token.special else token.text.casefold()


def _mean_weight(weights: Float[Tensor, "h q k"], there: Bool[Tensor, "q k"]) -> Float[Tensor, " h"]:
    """The mean, over the queries for which there is such a key, of the weight on all of them."""
    some = there.any(dim=1)
    if not some.any():
        return weights.new_zeros(len(weights))
    return (weights * there).sum(dim=2)[:, some].mean(dim=1)


def alignment_quality(weights: Float[Tensor, "q k"], keys: Sequence[Token]) -> dict[str, float]:
    """How much a map of cross-attention looks like a word alignment. Special keys are left out, and rows brought to a sum of one
    again; the last row, which says the end of the sentence, is left out too.

    `sharp` is the mean of each row's largest weight; `mono` the share of pairs of rows whose strongest keys stand in the order
    of the rows (1: word by word; a head that always looks at one key has 0).
    """
    words = [i for i, key in enumerate(keys) if not key.special]
    rows = weights[:-1, words]
    rows = rows[rows.sum(dim=1) > 0]
    if not rows.numel():
        return {"sharp": 0.0, "mono": 0.0}
    total = rows.sum(dim=1, keepdim=True)
    best = rows.argmax(dim=1)
    later = best[None, :] > best[:, None]
    pairs = math.comb(len(best), 2)
    share = float(torch.triu(later, 1).sum()) / pairs if pairs else 1.0
    return {"sharp": _short(float((rows / total).amax(dim=1).mean())), "mono": _short(share)}


def _short(share: float) -> float:
    """Six digits, which say more than a mean of weights can mean."""
    return round(share, 6)
