"""What may come next in a translation: prefixes, phrases, repeats."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sightline.decoding.phrases import Constraint, begun
from sightline.decoding.protocol import Decodable, length_limits, next_log_probs
from sightline.decoding.settings import DecodingSettings


class Rules:
    """What may come next, for the sentences of a batch.

    A prefix goes before everything else, and so do phrases to be included once only as many tokens are left as they need. The end
    waits for `min_len`, and for all these phrases. With `no_repeat_ngram`, no n tokens in a row come twice.
    """

    def __init__(
        self,
        model: Decodable[Any],
        src: Int[Tensor, "b s"],
        settings: DecodingSettings,
        constraints: Sequence[Constraint | None] | None,
    ) -> None:
        self.model, self.settings = model, settings
        self.constraints = {i: asked for i, asked in enumerate(constraints or ()) if asked is not None}
        self.limits = length_limits(model, src, settings)
        """The most steps for each sentence; as many as its constraint needs, if that is more."""
        for i, asked in self.constraints.items():
            self.limits[i] = max(self.limits[i], asked.least)

    def log_probs(
        self, logits: Float[Tensor, "n vocab"], tokens: Int[Tensor, "n t"], sentences: Iterable[int]
    ) -> Float[Tensor, "n vocab"]:
        """Log-probabilities of the next token of each row; what must not come is `-inf`, the rest is as the model says.

        `tokens` are those of the rows so far, `sentences` the rows' places in the batch.
        """
        found = next_log_probs(logits, self.model, may_end=tokens.shape[1] >= self.settings.min_len)
        own = [(row, i, tokens[row].tolist()) for row, i in enumerate(sentences) if i in self.constraints]
        forced = [(row, token) for row, i, so_far in own for token in self._forced(i, so_far)]
        kept = [float(found[row, token]) for row, token in forced]
        self._forbid_repeats(found, tokens)
        for row, i, so_far in own:
            asked = self.constraints[i]
            for phrase in asked.exclude:
                if begun(so_far, phrase) == len(phrase) - 1:
                    found[row, phrase[-1]] = -torch.inf
            if asked.missing(so_far):
                found[row, self.model.eos_id] = -torch.inf
        for (row, token), log_prob in zip(forced, kept, strict=True):
            found[row] = -torch.inf
            found[row, token] = log_prob
        return found

    def _forced(self, sentence: int, tokens: list[int]) -> list[int]:
        """The one token that must come next, if there is one."""
        asked = self.constraints[sentence]
        if len(tokens) < len(asked.prefix):
            return [asked.prefix[len(tokens)]]
        missing = sorted(asked.missing(tokens), key=lambda phrase: -begun(tokens, phrase))
        if not missing:
            return []
        done = begun(tokens, missing[0])
        needed = sum(map(len, missing)) - done
        return [missing[0][done]] if needed >= self.limits[sentence] - len(tokens) else []

    def _forbid_repeats(self, log_probs: Float[Tensor, "n vocab"], tokens: Int[Tensor, "n t"]) -> None:
        n, length = self.settings.no_repeat_ngram, tokens.shape[1]
        if n == 0 or length < n:
            return
        grams = tokens.unfold(1, n, 1)
        again = (grams[:, :, :-1] == tokens[:, None, length - n + 1 :]).all(dim=2)
        rows, places = again.nonzero(as_tuple=True)
        log_probs[rows, grams[rows, places, -1]] = -torch.inf
