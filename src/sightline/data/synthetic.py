"""Corpora that are made, not found: to see in seconds whether everything works, and what a model can learn."""

import random
from pathlib import Path

from sightline.files import write_atomically


def write_copy_corpus(path: Path, pairs: int = 4000, words: int = 40, longest: int = 8, seed: int = 1) -> None:
    """Pairs of equal sides, TAB between them: 1 to `longest` numbers below `words`. The same arguments, the same file.

    Copying needs attention and positions, and nothing else. Raises UserError if the file cannot be written.
    """
    generator = random.Random(seed)
    seen: dict[str, None] = {}
    while len(seen) < pairs:
        seen[" ".join(str(generator.randrange(words)) for _ in range(generator.randint(1, longest)))] = None
    text = "".join(f"{line}\t{line}\n" for line in seen)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomically(path, text)
