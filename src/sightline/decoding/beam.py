"""Beam search over a batch of sentences."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sightline.decoding.protocol import (
    Decodable,
    DecodingSettings,
    Hypothesis,
    hypothesis,
    keep_rows,
    length_limits,
    next_log_probs,
)


@dataclass(frozen=True, slots=True)
class Beams:
    """The unfinished hypotheses of `k` sentences, `r` for each (one before the first step), the most probable first."""

    log_prob: Float[Tensor, "k r"]
    """`-inf` marks an empty place."""
    tokens: Int[Tensor, "k r t"]
    token_log_probs: Float[Tensor, "k r t"]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The `c` best ways to make the hypotheses of each sentence longer by a token, the most probable first."""

    log_prob: Float[Tensor, "k c"]
    """Of the whole hypothesis; `-inf` marks an empty place."""
    parent: Int[Tensor, "k c"]
    """Which of the sentence's hypotheses becomes longer."""
    token: Int[Tensor, "k c"]
    token_log_prob: Float[Tensor, "k c"]


@torch.inference_mode()
def beam_search(model: Decodable[Any], src: Int[Tensor, "b s"], settings: DecodingSettings) -> list[list[Hypothesis]]:
    """The best translations of each sentence, in the order of `src`: at most `n_best`, at least one, best first.

    At each step the `2 * beam` most probable continuations of a sentence are looked at: those of the first `beam` that
    end are finished, and the first `beam` that do not end go on, so that the beam is never short (Wu et al. 2016,
    section 7, without its pruning; fairseq and Hugging Face do the same). Of equals the one from the better hypothesis
    comes first, then the one with the lower token. Sentences leave the batch as soon as they are done; none depends on
    the others. A sentence is done

    - with `stop="exact"` when no unfinished hypothesis can still come among the `n_best`
      (`DecodingSettings.best_score`);
    - with `stop="first"`, and always with a beam of one (the greedy search), when `beam` hypotheses are finished;
    - at its limit (`length_limits`). Then, and only if nothing is finished, the unfinished ones are given as they are.

    Hugging Face's `generate(early_stopping=True, length_penalty=a)` chooses by the same rule as `stop="first",
    length_norm="average", length_penalty=a` (transformers 5): its length, too, counts `eos` but not the decoder's first
    token; `min_len` is its `min_new_tokens`, the limit its `max_new_tokens`, and `pad` must be in its `bad_words_ids`.
    Only at the limit it differs: unfinished hypotheses compete there with finished ones or, with
    `forced_eos_token_id`, are ended at no cost.
    """
    if not len(src):
        return []
    limits = length_limits(model, src, settings)
    finished: list[list[Hypothesis]] = [[] for _ in limits]
    active = list(range(len(limits)))
    state = model.start(src)
    newest = src.new_full((len(limits),), model.bos_id)
    beams = Beams(
        log_prob=torch.zeros(len(limits), 1, device=src.device),
        tokens=src.new_empty(len(limits), 1, 0),
        token_log_probs=torch.empty(len(limits), 1, 0, device=src.device),
    )
    length = 0
    while active:
        length += 1
        log_probs = next_log_probs(model.step(newest, state), model, may_end=length > settings.min_len)
        candidates = best_candidates(beams, log_probs, 2 * settings.beam)
        ends = (candidates.token == model.eos_id) & (candidates.log_prob > -torch.inf)
        for row, found in ended(beams, candidates, ends, settings):
            insert(finished[active[row]], found, settings)

        # A hypothesis ends in one way only, so at most `beam` of the candidates end and at least `beam` are left.
        goes_on = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, : settings.beam]
        rows = len(newest)
        parents = candidates.parent.gather(1, goes_on)
        index = torch.arange(len(active), device=src.device)[:, None] * beams.log_prob.shape[1] + parents
        beams = extended(beams, candidates, goes_on)
        stay = []
        for row, (sentence, log_prob) in enumerate(zip(active, beams.log_prob[:, 0].tolist(), strict=True)):
            if length == limits[sentence] or log_prob == -torch.inf or log_prob != log_prob:
                finished[sentence] = finished[sentence] or unfinished(beams, row, settings)
            elif not is_done(finished[sentence], log_prob, length, limits[sentence], settings):
                stay.append(row)
        active = [active[row] for row in stay]
        if active:
            kept = torch.tensor(stay, device=src.device)
            beams = Beams(beams.log_prob[kept], beams.tokens[kept], beams.token_log_probs[kept])
            newest = beams.tokens[:, :, -1].flatten()
            keep_rows(state, index[kept].flatten(), rows)
    return [best[: settings.n_best] for best in finished]


def best_candidates(beams: Beams, log_probs: Float[Tensor, "n vocab"], count: int) -> Candidates:
    """The `count` most probable continuations of each sentence; fewer possible ones are filled up with empty places."""
    sentences, width = beams.log_prob.shape
    each, token = top(log_probs, count)
    token_log_prob = each.view(sentences, -1)
    before = beams.log_prob[:, :, None]
    total = (before + each.view(sentences, width, -1)).masked_fill(before == -torch.inf, -torch.inf).flatten(1)
    total, place = total.sort(dim=1, descending=True, stable=True)
    missing = max(0, count - total.shape[1])
    total = torch.nn.functional.pad(total[:, :count], (0, missing), value=-torch.inf)
    place = torch.nn.functional.pad(place[:, :count], (0, missing))
    return Candidates(
        log_prob=total,
        parent=place // each.shape[1],
        token=token.view(sentences, -1).gather(1, place),
        token_log_prob=token_log_prob.gather(1, place),
    )


def top(values: Float[Tensor, "n m"], count: int) -> tuple[Float[Tensor, "n c"], Int[Tensor, "n c"]]:
    """The `count` largest of each row (all, if there are fewer) and where they are; of equals the first, and first.

    `torch.topk` alone leaves open which of several equals it takes, and in bfloat16 equals are common.
    """
    count = min(count, values.shape[1])
    best, index = values.topk(min(count + 1, values.shape[1]), dim=1)  # one more shows whether the cut parts equals
    if best.shape[1] > count:
        parted = (best[:, count - 1] == best[:, count]) & (best[:, count] > -torch.inf)
        best, index = best[:, :count], index[:, :count]
        if parted.any():
            again, where = values[parted].sort(dim=1, descending=True, stable=True)
            best[parted], index[parted] = again[:, :count], where[:, :count]
    index, order = index.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    return best, index.gather(1, order)


def extended(beams: Beams, candidates: Candidates, choice: Int[Tensor, "k r"]) -> Beams:
    """The hypotheses that the chosen candidates make."""
    parent = candidates.parent.gather(1, choice)[:, :, None].expand(-1, -1, beams.tokens.shape[2])
    token = candidates.token.gather(1, choice)[:, :, None]
    token_log_prob = candidates.token_log_prob.gather(1, choice)[:, :, None]
    return Beams(
        log_prob=candidates.log_prob.gather(1, choice),
        tokens=torch.cat((beams.tokens.gather(1, parent), token), dim=2),
        token_log_probs=torch.cat((beams.token_log_probs.gather(1, parent), token_log_prob), dim=2),
    )


def ended(
    beams: Beams, candidates: Candidates, ends: Bool[Tensor, "k c"], settings: DecodingSettings
) -> list[tuple[int, Hypothesis]]:
    """The hypotheses that this step finishes, those among the first `beam` candidates; each with its sentence's row."""
    row, rank = ends[:, : settings.beam].nonzero(as_tuple=True)
    if not len(row):
        return []
    parent = candidates.parent[row, rank]
    tokens = beams.tokens[row, parent]
    each = torch.cat((beams.token_log_probs[row, parent], candidates.token_log_prob[row, rank, None]), dim=1)
    found = zip(row.tolist(), tokens.tolist(), each.tolist(), strict=True)
    return [(at, hypothesis(ids, parts, True, settings)) for at, ids, parts in found]


def unfinished(beams: Beams, row: int, settings: DecodingSettings) -> list[Hypothesis]:
    """The hypotheses of a sentence that has come to its limit, as they are; at least one."""
    possible = max(1, int((beams.log_prob[row] > -torch.inf).sum()))
    found = zip(beams.tokens[row, :possible].tolist(), beams.token_log_probs[row, :possible].tolist(), strict=True)
    return [hypothesis(ids, parts, False, settings) for ids, parts in found]


def insert(best: list[Hypothesis], found: Hypothesis, settings: DecodingSettings) -> None:
    """Add a finished hypothesis to a sentence's list, best first; of equal scores the one found earlier comes first."""
    place = sum(other.score >= found.score for other in best)
    best.insert(place, found)
    del best[settings.beam :]


def is_done(best: list[Hypothesis], log_prob: float, length: int, limit: int, settings: DecodingSettings) -> bool:
    """Whether a sentence needs no more steps; `log_prob` is that of its most probable unfinished hypothesis."""
    if settings.stop == "first" or settings.beam == 1:
        return len(best) >= settings.beam
    wanted = settings.n_best
    return len(best) >= wanted and settings.best_score(log_prob, length, limit) <= best[wanted - 1].score
