"""A trained bundle, ready to translate: what Python, the command line and (later) the server all go through."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from sightline.bundle import Bundle, load_bundle
from sightline.bundle.stored import FORMATS
from sightline.config import parse
from sightline.data.normalise import normalise
from sightline.decoding.settings import DecodingSettings
from sightline.errors import BundleError, ConfigError, nearest
from sightline.metrics.scripts import HAN
from sightline.runtime.native import NATIVE_PRECISIONS, Native, NotNative, Parts, parts_of
from sightline.runtime.threads import processor_threads
from sightline.tasks.phrases import Wanted
from sightline.tasks.search import Translated, translate

if TYPE_CHECKING:
    from sightline.decoding.ensemble import Ensemble
    from sightline.decoding.shortlist import Shortlist
    from sightline.models.sequence_to_sequence import AnyModel
    from sightline.runtime.prepared import Prepared
    from sightline.tasks.batched import Scored

BUILTIN = Path(__file__).resolve().parent.parent / "builtin"


class Translator:
    """Translates raw text with one bundle. The same texts and settings give the same translations, alone or in any batch."""

    def __init__(
        self, bundle: Bundle, *others: Bundle, precision: str = "auto", shortlist: "Shortlist | None" = None
    ) -> None:
        """With `others`, models that know the same tokens, each next token gets the mean of the probabilities they give it.

        `precision` is the number format of the computation: fp32, in which translations are those of the model as it was trained;
        int8, where the extra `native` is installed and the model stands alone; bf16; or auto, the fastest one here.
        A `shortlist` says which few tokens each translation may hold, in searches of the extra `native`: beam and greedy ones, of
        which nothing is asked. All others, and scores of given translations, are over the whole vocabulary.

        Raises ConfigError if it cannot be.
        """
        if precision not in (known := ("auto", "int8", *FORMATS.values())):
            raise ConfigError(f"precision = {precision!r} is none: give {', '.join(known)}.{nearest(precision, known)}")
        self.bundle = bundle
        try:
            parts, why_not = (
                (None, "the library translates with one model at a time") if others else (parts_of(bundle), "")
            )
        except NotNative as error:
            parts, why_not = None, str(error)
        self.precision = _chosen(precision, bundle, why_not)
        self.searched = self._prepared(others, parts, why_not, shortlist)
        """What searches ask: the model made ready, or all of them."""

    def _prepared(
        self, others: Sequence[Bundle], parts: Parts | None, why_not: str, shortlist: "Shortlist | None"
    ) -> "Native | Prepared | AnyModel | Ensemble":
        if parts is not None and self.precision in NATIVE_PRECISIONS:
            return Native(parts, self.precision, shortlist)
        if shortlist is not None:
            if others or self.precision not in NATIVE_PRECISIONS:
                why_not = "it is for one model in int8 or fp32"
            raise ConfigError(f"A shortlist is not to be had here: {why_not}. Leave it out.")
        from sightline.decoding.ensemble import Ensemble
        from sightline.runtime.prepared import prepare

        if others:
            return Ensemble([prepare(each.model, self.precision) for each in (self.bundle, *others)])
        return prepare(self.bundle.model, self.precision)

    @property
    def model(self) -> "AnyModel":
        """The (first) model, in evaluation mode."""
        return self.bundle.model

    @property
    def languages(self) -> tuple[str, ...]:
        """The target languages to choose from; empty if the model has but one."""
        return self.bundle.tokenizer.tags

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]: a str is a sequence of str too
        self, text: str, to: str | None = None, **decoding: Any
    ) -> str: ...
    @overload
    def __call__(self, text: Sequence[str], to: str | None = None, **decoding: Any) -> list[str]: ...
    def __call__(self, text: str | Sequence[str], to: str | None = None, **decoding: Any) -> str | list[str]:
        """The best translation of a text, or of each of several.

        `to` is the target language. Without it a model with one has no choice; one that knows Chinese translates Chinese text to
        English (or to its only other language) and any other text to Chinese.
        Further settings are those of `DecodingSettings`, as in `translator(text, beam=8)`, and `prefix`, `include` and `exclude`:
        how every translation begins, and phrases that it must and must not hold.

        Raises ConfigError for a language or setting that does not exist.
        """
        if isinstance(text, str):
            return self.translate([text], to, **decoding)[0][0].text
        return [best[0].text for best in self.translate(text, to, **decoding)]

    def beam(self, text: str, width: int = 5, to: str | None = None, **decoding: Any) -> list[Translated]:
        """The `width` best translations of a text found by a beam of that width, best first."""
        return self.translate([text], to, beam=width, n_best=width, **decoding)[0]

    def translate(
        self, texts: Sequence[str], to: str | Sequence[str] | None = None, **decoding: Any
    ) -> list[list[Translated]]:
        """For each text its `n_best` best translations with their scores, best first; `to` is one for all, or one each."""
        wanted = decoding.pop("wanted", None) or self.wanted(
            **{name: decoding.pop(name) for name in ("prefix", "include", "exclude") if name in decoding}
        )
        settings = self.settings(**decoding)
        languages, max_len = self._targets(texts, to), self.bundle.config.model.max_len
        on_processor = isinstance(self.searched, Native) or self.searched.device.type == "cpu"
        threads = processor_threads() if on_processor else 1
        return translate(self.searched, self.bundle.tokenizer, texts, languages, settings, max_len, wanted, threads)

    def score(
        self, texts: Sequence[str], translations: Sequence[str], to: str | Sequence[str] | None = None
    ) -> "list[Scored]":
        """How probable the model finds each text's translation.

        Raises DataError if there are not as many translations as texts, or one has more tokens than the model can write.
        """
        from sightline.tasks.batched import score_texts

        given = texts, translations, self._targets(texts, to), self.settings(), self.bundle.config.model.max_len
        return score_texts(self.searched, self.bundle.tokenizer, *given)

    def partial(self, text: str, to: str | None = None, **decoding: Any) -> Iterator[str]:
        """The greedy translation of a text (with `sample`, a random one) as it grows, token by token."""
        from sightline.tasks.batched import translate_gradually

        settings, [language] = self.settings(**{**decoding, "n_best": 1}), self._targets([text], to)
        config, tokenizer = self.bundle.config, self.bundle.tokenizer
        return translate_gradually(self.searched, tokenizer, text, language, settings, config.model.max_len)

    def stream(
        self, lines: Iterable[str], to: str | None = None, window: int = 512, **decoding: Any
    ) -> Iterator[list[Translated]]:
        """As `translate`, for any number of lines in constant memory: `window` at a time, order kept."""
        lines = iter(lines)
        while some := list(islice(lines, window)):
            yield from self.translate(some, to, **decoding)

    def settings(self, **decoding: Any) -> DecodingSettings:
        """The bundle's decoding settings with some replaced; `n_best` widens the beam if need be."""
        own = self.bundle.config.decoding.model_dump()
        merged = {**own, **decoding}
        if "beam" not in decoding and not (merged["sample"] or merged["mbr"]):
            merged["beam"] = max(merged["beam"], merged["n_best"])
        return parse(DecodingSettings, merged)

    def wanted(self, prefix: str = "", include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Wanted:
        """What is asked of translations, as the model writes text. Raises ConfigError if a phrase is empty."""
        kind = self.bundle.tokenizer.settings
        phrases = [normalise(text, kind.normalize, kind.lowercase) for text in (prefix, *include, *exclude)]
        if empty := [text for text, found in zip((*include, *exclude), phrases[1:], strict=True) if not found]:
            raise ConfigError(
                f"A phrase to be included or excluded is empty ({empty[0]!r}): leave it out, or say which."
            )
        return Wanted(phrases[0], tuple(phrases[1 : 1 + len(include)]), tuple(phrases[1 + len(include) :]))

    def _targets(self, texts: Sequence[str], to: str | Sequence[str] | None) -> list[str]:
        asked = [to] * len(texts) if to is None or isinstance(to, str) else to
        return [self._target(text, language or None) for text, language in zip(texts, asked, strict=True)]

    def _target(self, text: str, to: str | None) -> str:
        return target_tag(self.bundle, text, to)


def target_tag(bundle: Bundle, text: str, to: str | None) -> str:
    """The tag to put before a text, "" where there are none. Raises ConfigError if it is unknown, or not given and not clear."""
    tags = bundle.tokenizer.tags
    if to is not None:
        if not tags and to == bundle.config.tgt_lang:
            return ""
        if to not in tags:
            known = tags or ((bundle.config.tgt_lang,) if bundle.config.tgt_lang else ())
            raise ConfigError(
                f"This model does not translate to '{to}'.{nearest(to, known)} "
                + (f"It translates to: {', '.join(known)}." if known else "It has one target language: leave --to out.")
            )
        return to
    if len(tags) < 2:
        return tags[0] if tags else ""
    if "zh" in tags and (len(tags) == 2 or "en" in tags):
        other = "en" if "en" in tags else next(tag for tag in tags if tag != "zh")
        return other if HAN.search(text) else "zh"
    raise ConfigError(f"This model translates to {', '.join(tags)}: say which, with --to (in Python, to=...).")


def _chosen(precision: str, bundle: Bundle, why_not: str) -> str:
    """A number format, the fastest one for "auto". Raises ConfigError if it must be int8 and cannot."""
    if precision == "int8" and why_not:
        raise ConfigError(f"precision = int8 is not to be had here: {why_not}. Give auto.")
    if precision != "auto" or not why_not:
        return "int8" if precision == "auto" else precision
    from sightline.runtime.prepared import fastest_precision

    return fastest_precision(bundle.model)


def load(
    folder: str | Path | Sequence[str | Path] | None = None, precision: str = "auto", shortlist: bool = False
) -> Translator:
    """The translator in a folder that `sightline train` wrote; without a folder, the one that comes with sightline. Several
    folders translate together: see `Ensemble`. For `precision` see `Translator`; with `shortlist` it uses the one that
    `sightline shortlist` has put into the folder.

    Raises BundleError if a folder holds none, or a damaged one, or if those of several do not know the same tokens.
    """
    folders = [folder] if isinstance(folder, str | Path) else list(folder or [BUILTIN])
    first, *others = [load_bundle(each) for each in folders]
    for path, bundle in zip(folders[1:], others, strict=True):
        if bundle.tokenizer.to_json() != first.tokenizer.to_json():
            raise BundleError(
                f"{path} has another vocabulary than {folders[0]}, and models that translate together must know the same tokens: "
                f"train one from the other (train.init={folders[0]}), or both on the same text with the same [tokenizer]."
            )
    if not shortlist:
        return Translator(first, *others, precision=precision)
    from sightline.decoding.shortlist import Shortlist

    found = Shortlist.load(Path(folders[0]), (first.tokenizer.src_vocab_size, first.tokenizer.tgt_vocab_size))
    return Translator(first, *others, precision=precision, shortlist=found)
