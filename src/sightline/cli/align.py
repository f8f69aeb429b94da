"""`sightline align`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightline.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sightline.inspection.alignment import Place, Words
    from sightline.metrics.alignment import Links
    from sightline.runtime.translator import Translator

LOOKED_AT = 200
"""Pairs on which the place of the alignment is chosen, at most."""


def align(
    src: Annotated[Path, typer.Option(metavar="FILE", help="Source sentences, one a line, words separated by blanks.")],
    tgt: Annotated[Path, typer.Option(metavar="FILE", help="Translations of theirs, line by line, in words too.")],
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of a trained model; without it the built-in one.")
    ] = None,
    pair: Annotated[
        str | None, typer.Option(metavar="FROM-TO", help="The languages, as in en-fr, for models with several.")
    ] = None,
    place: Annotated[
        str | None,
        typer.Option(
            metavar="PLACE[,PLACE]",
            help="Where to read it, as in 1:3r: decoder layer 1, head 3, both counted from 0, reading the word (w: writing "
            "it). A second one is for the other direction. Chosen if left out.",
        ),
    ] = None,
    symmetry: Annotated[
        str, typer.Option(metavar="HOW", help="How two directions are joined: grow-diag, intersection or union.")
    ] = "grow-diag",
    gold: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Alignments made by people: the error rate is said.")
    ] = None,
    first: Annotated[int, typer.Option(metavar="N", help="What the gold file calls the first word: 0 or 1.")] = 0,
) -> None:
    """Align words, in Pharaoh's format: a line for each pair, "0-0 1-2" for source word - target word.

    A model that translates both ways is asked both ways, at the layers and heads where the two agree best on these pairs; of
    one that translates one way, the last layer but one is read, where a word goes in; of a recurrent or convolutional one, where
    it comes out. Where that is, and the error rate beside --gold, goes to the standard error.
    """
    from sightline.inspection.gold import check_gold, read_gold
    from sightline.metrics.alignment import alignment_error_rate, pharaoh
    from sightline.runtime.translator import load

    if symmetry not in ("grow-diag", "intersection", "union"):
        raise ConfigError(f"--symmetry {symmetry}: give grow-diag, intersection or union.")
    translator = load(model)
    langs = _languages(translator, pair)
    pairs = _pairs(src, tgt)
    asked = None if gold is None else read_gold(gold, first)
    if gold is not None and asked is not None:
        check_gold(gold, asked, pairs)
    found = _aligned(translator, pairs, langs, place, symmetry)
    for links in found:
        print(pharaoh(links))
    if asked is not None:
        scores = alignment_error_rate(found, asked)
        print(
            f"alignment error rate {scores.error_rate:.1f} %, precision {scores.precision:.1f} %, recall {scores.recall:.1f} %, "
            f"{scores.n} pairs",
            file=sys.stderr,
        )


def _languages(translator: "Translator", pair: str | None) -> tuple[str, str] | None:
    """Source and target language of a model with tags; None for one without."""
    tags = translator.languages
    if not tags:
        return None
    src, _, tgt = (pair or "").partition("-")
    if not pair and len(tags) == 2:
        return tags[1], tags[0]
    if tgt not in tags or src == tgt:
        raise ConfigError(f"This model knows {', '.join(tags)}: say those of the files, as in --pair en-{tags[0]}.")
    return src, tgt


def _aligned(
    translator: "Translator",
    pairs: "list[tuple[Words, Words]]",
    langs: tuple[str, str] | None,
    place: str | None,
    symmetry: str,
) -> "list[Links]":
    from sightline.inspection.alignment import align, best_places, turned, usual_place
    from sightline.metrics.alignment import symmetrise

    model, tokenizer = translator.model, translator.bundle.tokenizer
    usual = usual_place(model)
    there = [] if place is None else [_place(text, translator) for text in place.split(",")]
    if langs is None or langs[0] not in translator.languages or len(there) == 1:
        forth = there[0] if there else usual
        print(f"read at {forth}", file=sys.stderr)
        return align(model, tokenizer, pairs, langs[1] if langs else "", [forth])[0]
    if there:
        forth, back = there[:2]
    else:
        forth, back, agreed = best_places(model, tokenizer, pairs[:LOOKED_AT], langs)
        print(f"the two directions agree on {agreed:.0%} (--place {forth},{back})", file=sys.stderr)
    one = align(model, tokenizer, pairs, langs[1], [forth])[0]
    other = align(model, tokenizer, [(b, a) for a, b in pairs], langs[0], [back])[0]
    return [symmetrise(a, turned(b), symmetry) for a, b in zip(one, other, strict=True)]  # pyright: ignore[reportArgumentType]


def _place(text: str, translator: "Translator") -> "Place":
    from sightline.inspection.alignment import Place, places

    known = places(translator.model)
    try:
        if (found := Place.parse(text.strip())) in known:
            return found
    except ValueError:
        pass
    heads = {each.layer: each.head for each in known if each.head is not None}
    raise ConfigError(
        f"--place {text}: there are decoder layers from 0 to {max(heads)}, and heads from 0 to {heads[0]}. Write 0:{heads[0]}r "
        f"for that head of layer 0, and 0r for the mean of its heads."
    )


def _pairs(src: Path, tgt: Path) -> "list[tuple[Words, Words]]":
    from sightline.data.lines import open_lines

    sides = [[text.split() for _, text in open_lines(path)] for path in (src, tgt)]
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"{src} has {len(sides[0]):,} lines and {tgt} has {len(sides[1]):,}, but line by line each must translate the other."
        )
    return list(zip(*sides, strict=True))
