"""What a search is told."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightline.config import Settings


class DecodingSettings(Settings):
    """How translations are searched for."""

    beam: Annotated[int, Field(ge=1, le=1000)] = 4
    """Hypotheses kept at each step; 1 is the greedy search."""
    length_norm: Literal["none", "average", "wu"] = "wu"
    """What the log-probability of a hypothesis is divided by, so that long ones are not at a disadvantage. average:
    length ** length_penalty; wu: ((5 + length) / 6) ** length_penalty (Wu et al. 2016, section 7); none: nothing.
    The length counts the end of the sentence."""
    length_penalty: Annotated[float, Field(allow_inf_nan=False)] = 0.6
    """The exponent in length_norm: 0 changes nothing, more prefers longer translations, less than 0 shorter ones."""
    max_len_ratio: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """A translation has at most max_len_ratio * source tokens + max_len_extra tokens."""
    max_len_extra: Annotated[int, Field(ge=0)] = 20
    """See max_len_ratio."""
    min_len: Annotated[int, Field(ge=0)] = 0
    """The fewest tokens of a translation, its end not counted."""
    n_best: Annotated[int, Field(ge=1)] = 1
    """How many translations of a sentence are given, best first; at most beam."""
    stop: Literal["exact", "first"] = "exact"
    """When a sentence is done. exact: no unfinished hypothesis can still win; first: as many as beam are finished (as
    fairseq, and Hugging Face with early_stopping=True)."""
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Source tokens, padding included, times beam that are decoded at once."""
    no_repeat_ngram: Annotated[int, Field(ge=0)] = 0
    """No so many tokens in a row come twice in a translation; 0: they may."""
    coverage_penalty: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What a translation loses for source tokens it has hardly looked at (Wu et al. 2016, section 7): the score gets this times
    the sum over source tokens of log(min(attention to the token in all steps, 1)). 0: nothing; the beam search alone knows it."""
    beam_groups: Annotated[int, Field(ge=1)] = 1
    """Diverse beams (Vijayakumar et al. 2018): so many groups share the beam, each held away from what those before it choose."""
    diversity: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    """What a token costs a group, in nats, for each hypothesis of the groups before it that has just taken it."""
    sample: bool = False
    """Draw translations at random instead of searching for the most probable: n_best of each sentence, whatever beam is."""
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Logits are divided by it before a token is drawn: below 1 the probable ones come more often, above 1 less."""
    top_k: Annotated[int, Field(ge=0)] = 0
    """Draw from the so many most probable tokens only (Fan et al. 2018); 0: from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the fewest tokens that together have this probability (Holtzman et al. 2020)."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens at least this many times as probable as the most probable one (Nguyen et al. 2024)."""
    mbr: Annotated[int, Field(ge=0)] = 0
    """Minimum Bayes risk (Eikema and Aziz 2020): draw so many samples, and give those first that are most like all of them by
    chrF. 0: do not."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Another number draws other translations; the same one draws the same, in any batch."""

    @model_validator(mode="after")
    def _fits_the_beam(self) -> "DecodingSettings":
        if self.n_best > self.beam and not (self.sample or self.mbr):
            raise ValueError(f"n_best ({self.n_best}) is more than beam ({self.beam}): raise beam, or ask for fewer")
        if self.n_best > self.mbr > 0:
            raise ValueError(
                f"n_best ({self.n_best}) is more than the {self.mbr} samples of mbr: raise mbr, or ask for fewer"
            )
        if self.beam % self.beam_groups:
            raise ValueError(f"beam ({self.beam}) must be a multiple of beam_groups ({self.beam_groups})")
        return self

    def norm(self, length: int) -> float:
        """What the log-probability of `length` tokens (the end of the sentence counted) is divided by."""
        match self.length_norm:
            case "none":
                return 1.0
            case "average":
                return length**self.length_penalty
            case "wu":
                return ((5 + length) / 6) ** self.length_penalty

    def best_score(self, log_prob: float, length: int, limit: int) -> float:
        """The best score that an unfinished hypothesis of `length` tokens may still reach within `limit` tokens.

        More tokens never raise `log_prob`, which is at most 0, so the score is best where the divisor is largest. The
        divisor only grows with the length or, when length_penalty is negative, only shrinks: it is largest at one of
        the two ends, the limit or the very next token.
        """
        return log_prob / max(self.norm(length + 1), self.norm(limit))
