"""BPE-dropout: the merges of a trained BPE applied with chance (Provilkov, Emelianenko and Voita 2020, algorithm 1)."""

import itertools
import random
from collections.abc import Mapping, Sequence

_NEVER = 1 << 60
_CACHED_WORDS = 100_000


class Merges:
    """The merge table of a trained BPE: the pair of ids that became one id, in order of priority."""

    def __init__(self, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], unknown: int):
        self._characters = {name: i for name, i in vocab.items() if len(name) == 1}
        self._unknown = unknown
        self._ranks = {(vocab[left], vocab[right]): rank for rank, (left, right) in enumerate(merges)}
        self._merged = [vocab[left + right] for left, right in merges]
        self._words: dict[str, tuple[list[int], list[int]]] = {}

    def sample(self, word: str, dropout: float, generator: random.Random) -> list[int]:
        """The ids of one word. With dropout 0 this is plain BPE.

        At each step every possible merge is dropped with probability `dropout` and the best of the rest is done; the
        word is ready when none is left.
        """
        ids, ranks = self._start(word)
        draw, table, merged = generator.random, self._ranks, self._merged
        while ranks:
            open_ranks = ranks
            best = min(open_ranks)
            while (
                best != _NEVER and draw() < dropout
            ):  # whether worse merges are dropped does not matter before the best is
                if open_ranks is ranks:
                    open_ranks = ranks.copy()
                open_ranks[open_ranks.index(best)] = _NEVER
                best = min(open_ranks)
            if best == _NEVER:
                break
            i = open_ranks.index(best)
            ids[i : i + 2] = [merged[best]]
            del ranks[i]
            if i > 0:
                ranks[i - 1] = table.get((ids[i - 1], ids[i]), _NEVER)
            if i < len(ranks):
                ranks[i] = table.get((ids[i], ids[i + 1]), _NEVER)
        return ids

    def _start(self, word: str) -> tuple[list[int], list[int]]:
        """The ids of the characters, and the rank of each neighbouring pair."""
        if word not in self._words:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            ids: list[int] = []
            for character in word:
                found = self._characters.get(character, self._unknown)
                if (
                    found != self._unknown or not ids or ids[-1] != self._unknown
                ):  # unknown characters in a row are one token
                    ids.append(found)
            self._words[word] = ids, [self._ranks.get(pair, _NEVER) for pair in itertools.pairwise(ids)]
        ids, ranks = self._words[word]
        return ids.copy(), ranks.copy()
