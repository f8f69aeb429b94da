"""A shortlist: for each sentence the few target tokens that its translation may hold, instead of the whole vocabulary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Bool, Int
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sightline.errors import BundleError
from sightline.files import sha256, write_atomically

FILE = "shortlist.safetensors"
FORMAT = {"format": "sightline shortlist", "version": "1"}
ROUNDS = 2
"""Of expectation maximisation."""
LINKS = 20_000_000
"""Pairs of a source and a target token that are learned from at most, for each target language; it takes a few hundred MB."""

Pair = tuple[Sequence[int], Sequence[int]]
"""A sentence and its translation as tokens; no tag, begin or end."""


@dataclass(frozen=True)
class Lexicon:
    """What source tokens are translated to in one language."""

    starts: Int[np.ndarray, " vocab_and_one"]
    """The translations of source token `s` are `tokens[starts[s] : starts[s + 1]]`."""
    tokens: Int[np.ndarray, " n"]
    always: Int[np.ndarray, " k"]
    """What every translation may hold: the most frequent tokens, and the end."""

    def of(self, source: Sequence[int]) -> Int[np.ndarray, " k"]:
        """The target tokens for a sentence, ascending, each once."""
        found = self._always.copy()
        for s in {*source}:
            found[self.tokens[self.starts[s] : self.starts[s + 1]]] = True
        return np.flatnonzero(found).astype(np.int32)

    @cached_property
    def _always(self) -> Bool[np.ndarray, " up_to_the_last"]:
        found = np.zeros(1 + max(self.tokens.max(initial=0), self.always.max(initial=0)), bool)
        found[self.always] = True
        return found


@dataclass(frozen=True)
class Shortlist:
    """A lexicon for each target language, by the tag of the language; -1 where sentences have no tag."""

    lexicons: dict[int, Lexicon]

    def of(self, source: Sequence[int]) -> Int[np.ndarray, " k"]:
        """The tokens that the translation of a source, as it goes into the model, may hold: ascending, each once.

        Raises ValueError for a target language that was not learned.
        """
        if -1 in self.lexicons:
            return self.lexicons[-1].of(source)
        if source[0] not in self.lexicons:
            raise ValueError(f"the shortlist knows nothing of the target language of tag {source[0]}")
        return self.lexicons[source[0]].of(source[1:])

    def save(self, folder: Path) -> None:
        """Write it into a bundle, atomically. Raises UserError if there is no room or no permission."""
        parts = {
            f"{tag}.{name}": getattr(lexicon, name)
            for tag, lexicon in self.lexicons.items()
            for name in ("starts", "tokens", "always")
        }
        write_atomically(folder / FILE, save(parts, {**FORMAT, "vocabulary": sha256(folder / "tokenizer.json")}))

    @classmethod
    def load(cls, folder: Path, sizes: tuple[int, int]) -> Self:
        """Read the one in a bundle whose vocabularies have these sizes.

        Raises BundleError if there is none, or one that is damaged or was learned for another vocabulary.
        """
        path, again = folder / FILE, f"Learn it again with `sightline shortlist {folder}`."
        if not path.is_file():
            raise BundleError(f"{folder} has no {FILE}: learn one with `sightline shortlist {folder}`.")
        try:
            with safe_open(path, framework="numpy") as file:
                about = file.metadata() or {}
                parts = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            tags = sorted({int(name.partition(".")[0]) for name in parts})
            found = {tag: Lexicon(*(parts[f"{tag}.{name}"] for name in ("starts", "tokens", "always"))) for tag in tags}
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise BundleError(f"{path} is damaged ({error}). {again}") from error
        if about.get("vocabulary") != sha256(folder / "tokenizer.json"):
            raise BundleError(f"{path} was learned for another vocabulary than that of {folder}. {again}")
        if not found or not all(_fits(lexicon, sizes) for lexicon in found.values()):
            raise BundleError(f"{path} is damaged: it names tokens that the vocabulary does not have. {again}")
        return cls(found)


def _fits(lexicon: Lexicon, sizes: tuple[int, int]) -> bool:
    """Whether nothing that a search looks up can lie outside: what is in a file may be anything."""
    src_vocab, tgt_vocab = sizes
    starts, held = lexicon.starts, (lexicon.tokens, lexicon.always)
    whole = all(each.ndim == 1 and each.dtype == np.int32 for each in (starts, *held)) and len(starts) == src_vocab + 1
    return (
        whole
        and starts[0] == 0
        and starts[-1] == len(lexicon.tokens)
        and bool((np.diff(starts) >= 0).all())
        and len(lexicon.always) > 0
        and all(not len(each) or 0 <= each.min() <= each.max() < tgt_vocab for each in held)
    )


def learn(
    pairs: Iterable[Pair],
    sizes: tuple[int, int],
    eos_id: int,
    most: int = 300,
    least: float = 3e-5,
    frequent: int = 500,
) -> Lexicon:
    """The `most` most probable translations of each source token, those below a probability of `least` left out, by the
    translation model 1 of Brown et al. 1993 (section 4.2); and the `frequent` most frequent target tokens, whatever the source.

    `sizes` are those of the two vocabularies. Jean et al. (2015, section 3.3) use such lists so.
    """
    src_vocab, tgt_vocab = sizes
    keys, groups, n_groups, counts = _links(pairs, sizes)
    found, where = np.unique(keys, return_inverse=True)
    src = found // tgt_vocab  # `src_vocab` itself is the empty word, which explains what no source token does
    weight = np.bincount(where).astype(np.float64)
    for _ in range(ROUNDS):
        probability = weight / np.bincount(src, weight, src_vocab + 1)[src]
        each = probability[where]
        each /= np.bincount(groups, each, n_groups)[groups]
        weight = np.bincount(where, each)
    probability = weight / np.bincount(src, weight, src_vocab + 1)[src]
    order = np.lexsort((-probability, src))
    src, tgt, probability = src[order], (found % tgt_vocab)[order], probability[order]
    rank = np.arange(len(src)) - np.searchsorted(src, src)
    kept = (rank < most) & (probability >= least) & (src < src_vocab)
    starts = np.searchsorted(src[kept], np.arange(src_vocab + 1))
    often = np.argsort(-counts, kind="stable")[:frequent]
    always = np.union1d(often[counts[often] > 0], [eos_id])
    return Lexicon(starts.astype(np.int32), tgt[kept].astype(np.int32), always.astype(np.int32))


def _links(pairs: Iterable[Pair], sizes: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Every target token with each source token of its sentence and the empty word, as source * target size + target; which
    target token of all each belongs to; how many these are; and how often each target token of the vocabulary is there.
    """
    src_vocab, tgt_vocab = sizes
    counts, keys, groups, n_groups, total = np.zeros(tgt_vocab, np.int64), [], [], 0, 0
    for source, target in pairs:
        src = np.append(np.unique(np.asarray(source, np.int64)), src_vocab)
        tgt = np.asarray(target, np.int64)
        np.add.at(counts, tgt, 1)
        keys.append((src[None, :] * tgt_vocab + tgt[:, None]).ravel())
        groups.append(np.repeat(np.arange(n_groups, n_groups + len(tgt), dtype=np.int32), len(src)))
        n_groups += len(tgt)
        if (total := total + len(keys[-1])) >= LINKS:
            break
    return np.concatenate(keys), np.concatenate(groups), n_groups, counts
