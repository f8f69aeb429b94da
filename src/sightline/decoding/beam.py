"""Beam search over a batch of sentences."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sightline.decoding.constraints import Rules
from sightline.decoding.hypothesis import Hypothesis, hypothesis
from sightline.decoding.phrases import Constraint
from sightline.decoding.protocol import Decodable, keep_rows, watched
from sightline.decoding.settings import DecodingSettings

SPARE = 16
"""How many more candidates than wanted are fetched, to find the first of equals."""


@dataclass(frozen=True, slots=True)
class Beams:
    """The unfinished hypotheses of `k` sentences, `r` for each (one before the first step), the most probable first."""

    log_prob: Float[Tensor, "k r"]
    """`-inf` marks an empty place."""
    tokens: Int[Tensor, "k r t"]
    token_log_probs: Float[Tensor, "k r t"]
    coverage: Float[Tensor, "k r s"] | None = None
    """With a coverage penalty, the attention that each source token has had so far; 1 for padding."""

    def rows(self, index: Int[Tensor, " n"]) -> "Beams":
        """Those of some sentences."""
        coverage = None if self.coverage is None else self.coverage[index]
        return Beams(self.log_prob[index], self.tokens[index], self.token_log_probs[index], coverage)


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
def beam_search(
    model: Decodable[Any],
    src: Int[Tensor, "b s"],
    settings: DecodingSettings,
    constraints: Sequence[Constraint | None] | None = None,
) -> list[list[Hypothesis]]:
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

    Where a constraint has phrases to include, the beam is shared among hypotheses that hold more of them and fewer (`share_out`).

    With `beam_groups`, each group of `beam / beam_groups` hypotheses is a search of its own, for which a token costs `diversity`
    for each hypothesis of the groups before it that has just taken it; the best of all groups are given.

    Hugging Face's `generate(early_stopping=True, length_penalty=a)` chooses by the same rule as `stop="first",
    length_norm="average", length_penalty=a` (transformers 5): its length, too, counts `eos` but not the decoder's first
    token; `min_len` is its `min_new_tokens`, the limit its `max_new_tokens`, and `pad` must be in its `bad_words_ids`.
    Only at the limit it differs: unfinished hypotheses compete there with finished ones or, with
    `forced_eos_token_id`, are ended at no cost.
    """
    if not len(src):
        return []
    rules, groups = Rules(model, src, settings, constraints), settings.beam_groups
    limits = [limit for limit in rules.limits for _ in range(groups)]
    n_best, beam = settings.n_best, settings.beam // groups
    settings = settings.model_copy(update={"beam": beam, "n_best": min(n_best, beam)})  # of a group
    finished: list[list[Hypothesis]] = [[] for _ in limits]  # of each group of each sentence
    active = list(range(len(limits)))
    state = model.start(src)
    if groups > 1:
        state.reorder(torch.arange(len(limits), device=src.device) // groups)
    newest = src.new_full((len(limits),), model.bos_id)
    beams = Beams(
        log_prob=torch.zeros(len(limits), 1, device=src.device),
        tokens=src.new_empty(len(limits), 1, 0),
        token_log_probs=torch.empty(len(limits), 1, 0, device=src.device),
    )
    if settings.coverage_penalty:
        watched(state).watch()
        padding = (src == model.pad_id).float().repeat_interleave(groups, dim=0)
        beams = replace(beams, coverage=padding[:, None])
    length = 0
    while active:
        length += 1
        width = beams.log_prob.shape[1]
        sentences = [group // groups for group in active for _ in range(width)]
        log_probs = rules.log_probs(model.step(newest, state), beams.tokens.flatten(0, 1), sentences)
        if beams.coverage is not None:
            beams = replace(beams, coverage=beams.coverage + watched(state).attention().view_as(beams.coverage))
        if groups == 1:
            candidates = best_candidates(beams, log_probs, 2 * settings.beam)
        else:
            candidates = diverse_candidates(beams, log_probs, active, settings)
        for row, group in enumerate(active):
            constraint = rules.constraints.get(group // groups)
            if constraint is not None and constraint.include:
                share_out(candidates, row, beams, log_probs, constraint, settings.beam, model.eos_id)
        ends = (candidates.token == model.eos_id) & (candidates.log_prob > -torch.inf)
        for row, found in ended(beams, candidates, ends, settings):
            insert(finished[active[row]], found, settings)

        # A hypothesis ends in one way only, so at most `beam` of the candidates end and at least `beam` are left.
        goes_on = ends.to(torch.uint8).argsort(dim=1, stable=True)[:, : settings.beam]
        rows = len(newest)
        parents = candidates.parent.gather(1, goes_on)
        index = torch.arange(len(active), device=src.device)[:, None] * width + parents
        beams = extended(beams, candidates, goes_on)
        stay = []
        for row, (group, log_prob) in enumerate(zip(active, beams.log_prob.amax(dim=1).tolist(), strict=True)):
            if length == limits[group] or log_prob == -torch.inf or log_prob != log_prob:
                finished[group] = finished[group] or unfinished(beams, row, settings)
            elif not is_done(finished[group], log_prob, length, limits[group], settings):
                stay.append(row)
        active = [active[row] for row in stay]
        if active:
            kept = torch.tensor(stay, device=src.device)
            beams = beams.rows(kept)
            newest = beams.tokens[:, :, -1].flatten()
            keep_rows(state, index[kept].flatten(), rows)
    if groups == 1:
        return [best[:n_best] for best in finished]
    return [best_of(finished[i : i + groups], n_best) for i in range(0, len(finished), groups)]


def best_of(groups: list[list[Hypothesis]], count: int) -> list[Hypothesis]:
    """The best hypotheses of several groups, finished ones first, each translation once."""
    found = sorted(itertools.chain.from_iterable(groups), key=lambda each: (not each.finished, -each.score))
    different = {tuple(each.tokens): each for each in reversed(found)}
    best = [each for each in found if different[tuple(each.tokens)] is each]
    return best[:count]


def best_candidates(
    beams: Beams, log_probs: Float[Tensor, "n vocab"], count: int, costs: Float[Tensor, "k vocab"] | None = None
) -> Candidates:
    """The `count` most probable continuations of each sentence; fewer possible ones are filled up with empty places.

    `costs` of a sentence's tokens count in the choice, not in the probabilities.
    """
    sentences, width = beams.log_prob.shape
    valued = log_probs if costs is None else log_probs - costs.repeat_interleave(width, dim=0)
    value, token = top(valued, count)
    each = value if costs is None else log_probs.gather(1, token)
    token_log_prob = each.view(sentences, -1)
    before = beams.log_prob[:, :, None]

    def of_whole(last: Tensor) -> Tensor:
        return (before + last.view(sentences, width, -1)).masked_fill(before == -torch.inf, -torch.inf).flatten(1)

    total = of_whole(each)
    chosen_by = total if costs is None else of_whole(value)
    place = chosen_by.sort(dim=1, descending=True, stable=True).indices
    total = total.gather(1, place)
    missing = max(0, count - total.shape[1])
    total = torch.nn.functional.pad(total[:, :count], (0, missing), value=-torch.inf)
    place = torch.nn.functional.pad(place[:, :count], (0, missing))
    return Candidates(
        log_prob=total,
        parent=place // each.shape[1],
        token=token.view(sentences, -1).gather(1, place),
        token_log_prob=token_log_prob.gather(1, place),
    )


def diverse_candidates(
    beams: Beams, log_probs: Float[Tensor, "n vocab"], active: list[int], settings: DecodingSettings
) -> Candidates:
    """Those of each group of each sentence, which `active` numbers; the groups of a sentence choose one after another."""
    groups, width, vocab = settings.beam_groups, beams.log_prob.shape[1], log_probs.shape[1]
    device = log_probs.device
    sentence = torch.tensor([number // groups for number in active], device=device)
    # Of each token of each sentence, how many hypotheses have taken it in this step.
    taken = torch.zeros(int(sentence.max()) + 1, vocab, device=device)
    by_row = log_probs.view(len(active), width, vocab)
    found: list[tuple[Tensor, Candidates]] = []
    for group in range(groups):
        rows = torch.tensor([row for row, number in enumerate(active) if number % groups == group], device=device)
        if not len(rows):
            continue
        own = beams.rows(rows)
        costs = settings.diversity * taken[sentence[rows]]
        chosen = best_candidates(own, by_row[rows].flatten(0, 1), 2 * settings.beam, costs)
        found.append((rows, chosen))
        first = chosen.token[:, : settings.beam]
        possible = (chosen.log_prob[:, : settings.beam] > -torch.inf).to(taken.dtype)
        taken.index_put_((sentence[rows][:, None].expand_as(first), first), possible, accumulate=True)
    order = torch.cat([rows for rows, _ in found]).argsort()
    names = ("log_prob", "parent", "token", "token_log_prob")
    return Candidates(**{name: torch.cat([getattr(each, name) for _, each in found])[order] for name in names})


def share_out(
    candidates: Candidates,
    row: int,
    beams: Beams,
    log_probs: Float[Tensor, "n vocab"],
    constraint: Constraint,
    beam: int,
    eos_id: int,
) -> None:
    """Replace a sentence's candidates by a choice in which hypotheses that hold more of the phrases to be included have their
    share of the beam (Post and Vilar 2018).

    To the most probable continuations come, for every hypothesis, those that bring a missing phrase further. All are dealt into
    banks by how much of the phrases they hold; the beam takes the best of each bank in turn, the fullest bank first, until it
    is full.
    """
    width = beams.log_prob.shape[1]
    before, texts = beams.log_prob[row].tolist(), beams.tokens[row].tolist()
    found: dict[tuple[int, int], tuple[float, float]] = {}
    drawn = (getattr(candidates, name)[row].tolist() for name in ("parent", "token", "log_prob", "token_log_prob"))
    for parent, token, log_prob, each in zip(*drawn, strict=True):
        if log_prob > -torch.inf:
            found[parent, token] = log_prob, each
    for parent, so_far in enumerate(texts):
        if before[parent] == -torch.inf:
            continue
        for token in constraint.next_tokens(so_far):
            each = float(log_probs[row * width + parent, token])
            if each > -torch.inf:
                found[parent, token] = before[parent] + each, each
    ordered = sorted(found, key=lambda key: -found[key][0])
    ends = [key for key in ordered if key[1] == eos_id][:beam]
    banks: dict[int, list[tuple[int, int]]] = {}
    for parent, token in ordered:
        if token != eos_id:
            banks.setdefault(constraint.met([*texts[parent], token]), []).append((parent, token))
    dealt = itertools.chain.from_iterable(itertools.zip_longest(*(banks[met] for met in sorted(banks, reverse=True))))
    going_on = [key for key in dealt if key is not None][:beam]
    chosen = [*ends, *sorted(going_on, key=lambda key: -found[key][0])]
    candidates.log_prob[row] = -torch.inf
    for place, (parent, token) in enumerate(chosen):
        candidates.parent[row, place], candidates.token[row, place] = parent, token
        candidates.log_prob[row, place], candidates.token_log_prob[row, place] = found[parent, token]


def top(values: Float[Tensor, "n m"], count: int) -> tuple[Float[Tensor, "n c"], Int[Tensor, "n c"]]:
    """The `count` largest of each row (all, if there are fewer) and where they are; of equals the first, and first.

    `torch.topk` alone leaves open which of several equals it takes, and in bfloat16 equals are common. A few more than `count`
    are fetched; where all of those are equals of the last one, the whole row is sorted.
    """
    count = min(count, values.shape[1])
    best, index = values.topk(min(count + SPARE, values.shape[1]), dim=1)
    if best.shape[1] < values.shape[1]:
        parted = (best[:, count - 1] == best[:, -1]) & (best[:, -1] > -torch.inf)
        if parted.any():
            again, where = values[parted].sort(dim=1, descending=True, stable=True)
            best[parted], index[parted] = again[:, : best.shape[1]], where[:, : best.shape[1]]
    index, order = index.sort(dim=1)
    best, order = best.gather(1, order).sort(dim=1, descending=True, stable=True)
    return best[:, :count].contiguous(), index.gather(1, order[:, :count])


def extended(beams: Beams, candidates: Candidates, choice: Int[Tensor, "k r"]) -> Beams:
    """The hypotheses that the chosen candidates make."""
    parents = candidates.parent.gather(1, choice)[:, :, None]
    parent = parents.expand(-1, -1, beams.tokens.shape[2])
    coverage = beams.coverage
    token = candidates.token.gather(1, choice)[:, :, None]
    token_log_prob = candidates.token_log_prob.gather(1, choice)[:, :, None]
    return Beams(
        log_prob=candidates.log_prob.gather(1, choice),
        tokens=torch.cat((beams.tokens.gather(1, parent), token), dim=2),
        token_log_probs=torch.cat((beams.token_log_probs.gather(1, parent), token_log_prob), dim=2),
        coverage=None if coverage is None else coverage.gather(1, parents.expand(-1, -1, coverage.shape[2])),
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
    covered = _covered(None if beams.coverage is None else beams.coverage[row, parent], len(row))
    found = zip(row.tolist(), tokens.tolist(), each.tolist(), covered, strict=True)
    return [(at, hypothesis(ids, parts, True, settings, so_far)) for at, ids, parts, so_far in found]


def unfinished(beams: Beams, row: int, settings: DecodingSettings) -> list[Hypothesis]:
    """The hypotheses of a sentence that has come to its limit, as they are; at least one."""
    possible = max(1, int((beams.log_prob[row] > -torch.inf).sum()))
    covered = _covered(None if beams.coverage is None else beams.coverage[row, :possible], possible)
    tokens, each = beams.tokens[row, :possible].tolist(), beams.token_log_probs[row, :possible].tolist()
    found = zip(tokens, each, covered, strict=True)
    return [hypothesis(ids, parts, False, settings, so_far) for ids, parts, so_far in found]


def _covered(coverage: Float[Tensor, "n s"] | None, rows: int) -> list[float]:
    """What the coverage penalty counts of each hypothesis (see `hypothesis`); zeros where there is none."""
    return [0.0] * rows if coverage is None else [float(each.clamp(1e-9, 1.0).log().sum()) for each in coverage]


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
