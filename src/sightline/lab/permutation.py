"""The experiment "permutation": the same words in another order, through models that are told where words stand and others."""

from collections.abc import Sequence

from sightline.bundle import Bundle
from sightline.errors import ConfigError
from sightline.lab.parts import Said
from sightline.lab.probes.fresh import CLASSICS, classics
from sightline.lab.probes.permutation import permutation_section
from sightline.lab.report import Made, Report, Shown

NAME = "permutation"
PARAMETERS, VOCABULARY = 50_000, 100
"""Of the untrained models."""


def permutation(models: Sequence[tuple[Said, Bundle]], sentence: str, to: str, command: str) -> Report:
    """A sentence and the same with its first and last words exchanged, through small untrained models of every family and through
    trained ones, into the language `to` where these have several.

    Raises ConfigError for a sentence of fewer than two words, or a language that a model does not have.
    """
    words = sentence.split()
    if len(words) < 2:
        raise ConfigError(
            f'The sentence "{sentence}" has fewer than two words to exchange: give one such as "Tom hit Jerry", words separated '
            "by blanks."
        )
    if words[0] == words[-1]:
        raise ConfigError(
            f'The first and the last word of "{sentence}" are the same, so exchanging them changes nothing: give a sentence such '
            'as "Tom hit Jerry".'
        )
    for name, bundle in models:
        tags = bundle.tokenizer.tags
        if tags and to not in tags:
            raise ConfigError(f"{name.en} translates into {', '.join(tags)}, not into '{to}': say which one with --to.")
    untrained = classics(list(CLASSICS), PARAMETERS, VOCABULARY)
    section = permutation_section(untrained, models, sentence, to)
    lead = Said(
        "Attention by itself sees a bag of words. What tells their order is added to the embeddings, or turns queries and keys.",
        "注意力本身只看到一袋子词。词序是靠加在词嵌入上的、或者旋转查询和键的位置信息告诉它的。",
    )
    title = Said("Tom hit Jerry, Jerry hit Tom", "Tom hit Jerry 与 Jerry hit Tom")
    return Report(NAME, title, [lead], [Shown(section, Made.now(command))])
