"""The settings of a prepared corpus."""

import itertools
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from sightline.config import Settings
from sightline.data.sources import CorpusSettings


class DataSettings(Settings):
    """Which text is trained on, which is kept for evaluation, and what is left out."""

    path: str = ""
    """Folder of the files named below."""
    train: list[CorpusSettings]
    """The training text: one corpus, or several."""
    valid: list[CorpusSettings] = Field(default_factory=list)
    """Validation text, one corpus or several: choices are made on it. Training pairs with a sentence of it are left out; with
    several languages also those connected to them by sentences in common, in groups of up to 1,000 pairs."""
    test: list[CorpusSettings] = Field(default_factory=list)
    """The same for the test text: only the final score comes from it."""
    merge_references: bool = False
    """Of a source that valid or test has several times, with several translations, make one sentence with several references,
    as in sets held out. Left out: every line is scored for itself, as published figures are."""
    hold_out_valid: int | None = None
    """When no valid is given: how many source sentences of the training text to set aside for validation, with all that
    is connected to them. Left out: 2 % of the pairs, at most 1000."""
    hold_out_test: int | None = None
    """The same for the test set. Left out, with a valid set given: none."""
    both_directions: bool = False
    """Train both directions, source to target and back, in one model; a tag before the source asks for the language."""
    tag_target: bool = False
    """Put the tag of the target language before the source, also with one direction only."""
    max_len: int = 256
    """Pairs with more tokens on a side, or more than model.max_len, are left out."""
    max_ratio: float = 9.0
    """Pairs with one side this many times longer than the other are left out (once it has more than 10 tokens)."""
    drop_duplicates: bool = True
    """Of pairs that are the same, keep the first."""
    drop_copies: bool = False
    """Leave out pairs with both sides the same."""
    split_seed: int = Field(default=1, ge=0)
    """Another number sets other sentences aside."""

    @field_validator("train", "valid", "test", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (dict, CorpusSettings)) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.train:
            raise ValueError("train names no corpus: give one, with src and tgt, or with pairs")
        for name in ("valid", "test"):
            if getattr(self, name) and getattr(self, f"hold_out_{name}"):
                raise ValueError(f"{name} and hold_out_{name} are both given: the set is either read or held out")
        if (self.hold_out_valid or 0) < 0 or (self.hold_out_test or 0) < 0:
            raise ValueError("hold_out_valid and hold_out_test count sentences, so they cannot be negative")
        if self.max_len < 2 or self.max_ratio < 1:
            raise ValueError("max_len must be at least 2 and max_ratio at least 1")
        if len(self.train) > 255:
            raise ValueError("there may be at most 255 corpora: join some of their files")
        tagged = self.both_directions or self.tag_target
        for corpus in self.train:
            if tagged and not (corpus.src_lang and corpus.tgt_lang):
                raise ValueError(
                    f"both_directions and tag_target need languages: give src_lang and tgt_lang for {corpus.names()}"
                )
            if self.both_directions and corpus.src_lang == corpus.tgt_lang:
                raise ValueError(
                    f"both_directions needs two languages, and {corpus.names()} has {corpus.src_lang} twice"
                )
        return self

    def corpora(self) -> list[CorpusSettings]:
        """All that is read."""
        return [*self.train, *self.valid, *self.test]

    @property
    def several_ways(self) -> bool:
        """Whether the corpora differ in their languages, so that what is a source in one may be a target in another."""
        return len({(corpus.src_lang, corpus.tgt_lang) for corpus in map(self.completed, self.corpora())}) > 1

    def names(self) -> str:
        """The training files, to be read by people."""
        return ", ".join(corpus.names() for corpus in self.train)

    def tags(self) -> tuple[str, ...]:
        """The languages that a tag can ask for, in order of appearance."""
        if not (self.both_directions or self.tag_target):
            return ()
        asked = [(c.tgt_lang, c.src_lang) if self.both_directions else (c.tgt_lang,) for c in self.train]
        return tuple(dict.fromkeys(itertools.chain.from_iterable(asked)))

    def directions(self, corpus: CorpusSettings) -> list[tuple[bool, str]]:
        """How a corpus is used: (whether its sides are exchanged, the target language that a tag asks for or "")."""
        if self.both_directions:
            return [(False, corpus.tgt_lang), (True, corpus.src_lang)]
        return [(False, corpus.tgt_lang if self.tag_target else "")]

    def completed(self, corpus: CorpusSettings) -> CorpusSettings:
        """A validation or test corpus with the languages of the first training corpus where it names none."""
        known = {"src_lang": self.train[0].src_lang, "tgt_lang": self.train[0].tgt_lang}
        return corpus.model_copy(update={name: getattr(corpus, name) or value for name, value in known.items()})
