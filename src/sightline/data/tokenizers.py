"""Text to token ids and back: subword, word, character and byte vocabularies, trained from raw text, kept in one file.

The layers of an encoding, in order: *normalise* (whitespace, Unicode form, case), *mark blanks* (a blank becomes "▁",
as in SentencePiece, Kudo and Richardson 2018), *cut* into words that no subword crosses, *model* (BPE, unigram ...),
*frame* (tag, eos).
"""

import codecs
import functools
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

import tokenizers as library
from pydantic import model_validator

from sightline.config import Settings
from sightline.data.lines import sample_lines
from sightline.data.merges import Merges
from sightline.data.normalise import BLANK, Form, mark_blanks, normalise, starts_unspaced
from sightline.errors import BundleError, ConfigError, DataError, nearest
from sightline.files import write_atomically

UNKNOWN = "⁇"
"""How an unknown token is shown in decoded text (U+2047, which no keyboard types)."""

Span = tuple[int, int]
"""From which character to before which."""
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_ENDING = r"(?i:s|d|m|t|ll|ve|re)(?!\p{L})"
_WORDS = "|".join(
    (
        rf"['’]{_ENDING}",  # don 't
        rf"▁?\p{{L}}{{1,2}}['’](?!{_ENDING})(?=\p{{L}})",  # l' eau, qu' il
        rf"▁?(?:(?![{_UNSPACED}])[\p{{L}}\p{{M}}\u200c\u200d])+",
        r"[\p{Han}\p{Hiragana}\p{Katakana}ー]+|\p{Thai}+|\p{Lao}+|\p{Khmer}+|\p{Myanmar}+",
        r"▁?\p{N}",
        r"▁?((?!▁)[\p{P}\p{S}])\1*",  # a mark, or a run of the same mark: ... ——
    )
)
_CUTS = {
    "subword": _WORDS,
    "word": _WORDS.replace("ー]+", "ー]"),  # a Chinese or Japanese character is a word where no blanks tell
    "tokens": r"▁[^▁]*",
    "char": ".",
}
_SAMPLE_CHARACTERS = 60_000_000
_UNSPACED_COST = {"bpe": 20, "unigram": 80}  # one character without blanks costs so many with: its runs hardly repeat


class TokenizerSettings(Settings):
    """How text becomes tokens."""

    kind: Literal["bpe", "unigram", "word", "char", "byte"] = "bpe"
    """Units of text: byte-pair encoding (Sennrich et al. 2016), unigram (Kudo 2018), words, characters, bytes."""
    vocab_size: int = 8000
    """Number of tokens at most, the special ones and language tags included (byte: always 256 and the special ones)."""
    joint: bool = True
    """One vocabulary for both languages; false trains one for each."""
    lowercase: bool = False
    """Lower-case all text: translations come out in lower case too."""
    normalize: Form = "nfkc"
    """Unicode normal form. nfkc also makes full-width letters plain, but keeps punctuation such as ，。！？…, which
    nfkc-all turns into its narrow forms too."""
    pretokenized: bool = False
    """The text is tokens separated by blanks: subwords stay within one, translations are tokens joined by a blank."""
    dropout: float = 0.0
    """BPE-dropout (Provilkov et al. 2020): the probability that a merge is skipped in training, 0 to below 1. Batches are
    planned by the lengths to be expected, so some hold a few tokens more than `train.batch_tokens` then."""
    min_frequency: int = 2
    """A character, word or pair of subwords seen fewer times gets no token of its own."""
    sample_lines: int = 1_000_000
    """The vocabulary is learned from at most this many lines of each side, drawn evenly from the whole corpus."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}")
        if self.dropout and self.kind != "bpe":
            raise ValueError(f"dropout works with kind = 'bpe' only, not with {self.kind!r}: set dropout = 0")
        for name in ("vocab_size", "min_frequency", "sample_lines"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        return self


def _placed(text: str, start: int, end: int) -> Span:
    """A piece's place in a text, without the blank that it may begin with; an empty one where there is nothing else."""
    start, end = min(max(0, start), len(text)), min(max(0, end), len(text))
    return (start + 1, end) if text[start:end].startswith(" ") else (start, end)


class _Pieces:
    """A vocabulary of pieces with the `tokenizers` library inside; it sees text with blanks marked."""

    def __init__(self, model: library.Tokenizer, settings: TokenizerSettings, n_special: int):
        self.model, self.n_special = model, n_special
        self.vocab_size = model.get_vocab_size()
        self.names: list[str] = [model.id_to_token(i) or "" for i in range(self.vocab_size)]
        self._prepare = functools.partial(_prepared, settings)
        self._unknown = " " + UNKNOWN if settings.kind == "word" else UNKNOWN

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [
            e.ids
            for e in self.model.encode_batch_fast([self._prepare(text) for text in texts], add_special_tokens=False)
        ]

    def decode(self, ids: Iterable[int]) -> str:
        pieces = (
            self._unknown if i == 3 else self.names[i] for i in ids if i == 3 or self.n_special <= i < self.vocab_size
        )
        return "".join(pieces).replace(BLANK, " ").strip(" ")

    def spans(self, text: str) -> tuple[str, list[Span]]:
        prepared = self._prepare(text)
        seen = prepared.replace(BLANK, " ").lstrip(" ")
        before = len(prepared) - len(seen)  # a mark before the text, which is no part of it
        found = self.model.encode(prepared, add_special_tokens=False).offsets
        return seen, [_placed(seen, start - before, end - before) for start, end in found]

    def spans_of(self, ids: Iterable[int]) -> tuple[str, list[Span]]:
        pieces = [self._unknown if i == 3 else self.names[i] if i >= self.n_special else "" for i in ids]
        joined = "".join(pieces).replace(BLANK, " ")
        seen = joined.strip(" ")
        end = len(joined.lstrip(" ")) - len(joined)
        found: list[Span] = []
        for piece in pieces:
            start, end = end, end + len(piece)
            found.append(_placed(seen, start, end))
        return seen, found

    @functools.cached_property
    def merges(self) -> Merges:
        model = json.loads(self.model.to_str())["model"]
        return Merges(model["vocab"], [tuple(pair) for pair in model["merges"]], unknown=3)

    def sample(self, text: str, dropout: float, generator: random.Random) -> list[int]:
        words = self.model.pre_tokenizer.pre_tokenize_str(self._prepare(text))  # pyright: ignore[reportOptionalMemberAccess]
        ids: list[int] = []
        for word, _ in words:
            ids += self.merges.sample(word, dropout, generator)
        return ids

    def to_dict(self) -> dict:
        return json.loads(self.model.to_str())


class _Bytes:
    """The 256 bytes of UTF-8 as a vocabulary: no unknown token, nothing to learn."""

    def __init__(self, settings: TokenizerSettings, specials: list[str]):
        self.n_special = len(specials)
        self._normalise = functools.partial(normalise, form=settings.normalize, lowercase=settings.lowercase)
        self.vocab_size = self.n_special + 256
        self.names = specials + [f"<0x{byte:02X}>" for byte in range(256)]

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self.n_special + byte for byte in self._normalise(text).encode("utf-8", "replace")] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        found = bytes(i - self.n_special for i in ids if self.n_special <= i < self.vocab_size)
        return found.decode("utf-8", "replace").strip(" ")

    def spans(self, text: str) -> tuple[str, list[Span]]:
        seen = self._normalise(text)
        return seen, [(i, i + 1) for i, sign in enumerate(seen) for _ in sign.encode("utf-8", "replace")]

    def spans_of(self, ids: Iterable[int]) -> tuple[str, list[Span]]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        joined, waiting, found = "", 0, list[Span]()
        ids = list(ids)
        for place, i in enumerate(ids):
            a_byte = self.n_special <= i < self.vocab_size
            signs = decoder.decode(bytes([i - self.n_special]) if a_byte else b"", final=place == len(ids) - 1)
            waiting += a_byte
            if signs or not a_byte:
                found += [(len(joined), len(joined) + len(signs))] * (waiting or 1)
                waiting, joined = 0, joined + signs
        found += [(len(joined), len(joined))] * (len(ids) - len(found))
        seen = joined.strip(" ")
        before = len(joined) - len(joined.lstrip(" "))
        return seen, [_placed(seen, start - before, end - before) for start, end in found]

    def sample(self, text: str, dropout: float, generator: random.Random) -> list[int]:
        return self.encode([text])[0]

    def to_dict(self) -> None:
        return None


class Tokenizer:
    """Text to ids and back for the source and the target side; the same ids on both when `settings.joint`.

    Ids: 0 padding, 1 begin, 2 end, 3 unknown, then one tag for each language of `tags` ("<2zh>": translate to zh), then
    the pieces. Text that spells "<s>" or "<2zh>" is text: the special tokens' own names hold a blank, which text inside
    the model never does.
    """

    pad_id, bos_id, eos_id, unk_id = 0, 1, 2, 3

    def __init__(self, settings: TokenizerSettings, tags: Sequence[str], src: _Pieces | _Bytes, tgt: _Pieces | _Bytes):
        self.settings, self.tags = settings, tuple(tags)
        self._src, self._tgt = src, tgt
        self._tag_ids = {tag: len(SPECIALS) + i for i, tag in enumerate(self.tags)}

    @classmethod
    def train(
        cls, settings: TokenizerSettings, src_lines: Iterable[str], tgt_lines: Iterable[str], tags: Sequence[str] = ()
    ) -> Self:
        """Learn the vocabularies. The same lines give the same tokenizer, on any machine.

        Raises DataError when there is no text, ConfigError when vocab_size cannot hold even the special tokens.
        """
        specials = _special_names(tags)
        if settings.kind == "byte":
            both = _Bytes(settings, specials)
            return cls(settings, tags, both, both)
        prepare = functools.partial(_prepared, settings)
        sides = [sample_lines(map(prepare, lines), settings.sample_lines) for lines in (src_lines, tgt_lines)]
        if settings.joint:
            both = _train(settings, sides[0] + sides[1], specials)
            return cls(settings, tags, both, both)
        return cls(settings, tags, _train(settings, sides[0], specials), _train(settings, sides[1], specials))

    @property
    def src_vocab_size(self) -> int:
        """Number of ids on the source side, special tokens and tags included."""
        return self._src.vocab_size

    @property
    def tgt_vocab_size(self) -> int:
        """Number of ids on the target side, special tokens and tags included."""
        return self._tgt.vocab_size

    def tag_id(self, language: str) -> int:
        """The id of the token that asks for a translation into `language`. Raises DataError for one not trained for."""
        if language not in self._tag_ids:
            known = ", ".join(self.tags) or "none: it was trained for one direction, so leave the target language out"
            raise DataError(
                f"the tokenizer has no target language {language!r}{nearest(language, self.tags)} It has: {known}."
            )
        return self._tag_ids[language]

    def encode_src(self, texts: Sequence[str], to: str | Sequence[str] | None = None) -> list[list[int]]:
        """For each text [tag] + pieces + [eos]; `to` is the target language of all or of each ("" or None: no tag)."""
        targets: Iterable[str] = itertools.repeat(to or "", len(texts)) if to is None or isinstance(to, str) else to
        framed = zip(self._src.encode(texts), targets, strict=True)
        return [[*self._tag(target), *ids, self.eos_id] for ids, target in framed]

    def encode_tgt(self, texts: Sequence[str]) -> list[list[int]]:
        """For each text pieces + [eos]; the begin token is left to whoever feeds the decoder."""
        return [[*ids, self.eos_id] for ids in self._tgt.encode(texts)]

    def sample_src(self, text: str, to: str | None, generator: random.Random) -> list[int]:
        """As encode_src for one text, with BPE-dropout; every random choice is from `generator`."""
        return [*self._tag(to or ""), *self._sample(self._src, text, generator), self.eos_id]

    def sample_tgt(self, text: str, generator: random.Random) -> list[int]:
        """As encode_tgt for one text, with BPE-dropout; every random choice is from `generator`."""
        return [*self._sample(self._tgt, text, generator), self.eos_id]

    def _sample(self, side: _Pieces | _Bytes, text: str, generator: random.Random) -> list[int]:
        return side.sample(text, self.settings.dropout, generator) if self.settings.dropout else side.encode([text])[0]

    def _tag(self, language: str) -> tuple[int, ...]:
        return (self.tag_id(language),) if language else ()

    def decode_src(self, ids: Iterable[int]) -> str:
        """Plain text; special tokens and tags are left out, an unknown token is shown as ⁇."""
        return self._src.decode(ids)

    def decode_tgt(self, ids: Iterable[int]) -> str:
        """Plain text; special tokens and tags are left out, an unknown token is shown as ⁇."""
        return self._tgt.decode(ids)

    def names_src(self) -> list[str]:
        """What each source id is called, special tokens and tags included: [src_vocab_size]."""
        return [name.strip() for name in self._src.names]

    def names_tgt(self) -> list[str]:
        """What each target id is called, special tokens and tags included: [tgt_vocab_size]."""
        return [name.strip() for name in self._tgt.names]

    def pieces_src(self, text: str) -> list[str]:
        """The source text cut into pieces, to be read by people; ▁ marks a blank."""
        return [self._src.names[i].strip() for i in self._src.encode([text])[0]]

    def pieces_tgt(self, text: str) -> list[str]:
        """The target text cut into pieces, to be read by people; ▁ marks a blank."""
        return [self._tgt.names[i].strip() for i in self._tgt.encode([text])[0]]

    def spans_src(self, text: str) -> tuple[str, list[Span]]:
        """The text as the model sees it, and where in it each token of `encode_src` stands, tag and end left out. Blanks
        are no part of a token's place; the bytes of a character all have the place of the character.
        """
        return self._src.spans(text)

    def spans_tgt(self, ids: Iterable[int]) -> tuple[str, list[Span]]:
        """What `decode_tgt` gives, and where in it each token stands; special ones have an empty place."""
        return self._tgt.spans_of(ids)

    def to_json(self) -> str:
        """Everything (settings, tags, vocabularies) as one JSON document."""
        document = {
            "format": "sightline-tokenizer",
            "version": 1,
            "settings": self.settings.model_dump(),
            "tags": self.tags,
            "src": self._src.to_dict(),
            "tgt": None if self._tgt is self._src else self._tgt.to_dict(),
        }
        return json.dumps(document, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "the tokenizer") -> Self:
        """The inverse of to_json. Raises BundleError, naming `where`, when the text is not such a document."""
        try:
            document = json.loads(text)
            if document["format"] != "sightline-tokenizer" or document["version"] != 1:
                raise BundleError(
                    f"{where} has format {document['format']!r} version {document['version']!r}, but this sightline "
                    "reads version 1: update sightline, or train the model again."
                )
            settings = TokenizerSettings(**document["settings"])
            tags = document["tags"]
            src = _restore(settings, _special_names(tags), document["src"])
            tgt = _restore(settings, _special_names(tags), document["tgt"]) if document["tgt"] else src
        except BundleError:
            raise
        except Exception as error:  # the library raises bare Exception
            raise BundleError(
                f"{where} is damaged or not a tokenizer written by sightline "
                f"({type(error).__name__}: {str(error)[:200]}): copy it again from where it was trained."
            ) from error
        return cls(settings, tags, src, tgt)

    def save(self, path: Path) -> None:
        """Write everything to one file, atomically."""
        write_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what save wrote. Raises BundleError naming the file when it is missing or damaged."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise BundleError(
                f"{path} is missing: the folder holds no tokenizer; give the folder of a trained model."
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"{path} cannot be read ({error}): copy it again from where it was trained.") from error
        return cls.from_json(text, where=str(path))


def _prepared(settings: TokenizerSettings, text: str) -> str:
    return mark_blanks(normalise(text, settings.normalize, settings.lowercase), always=settings.pretokenized)


def _special_names(tags: Sequence[str]) -> list[str]:
    return [" " + name for name in (*SPECIALS, *(f"<2{tag}>" for tag in tags))]


def _train(settings: TokenizerSettings, texts: list[str], specials: list[str]) -> _Pieces:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    if not counts:
        raise DataError("there is no text to learn a vocabulary from: every line of the training corpus is empty.")
    most = settings.vocab_size - len(specials)
    if most < 8:
        raise ConfigError(f"vocab_size = {settings.vocab_size} leaves no room beside {len(specials)} special tokens.")
    cut = {"word": "word", "char": "char"}.get(settings.kind, "subword")
    cut = "tokens" if settings.pretokenized and settings.kind != "char" else cut
    splitter = library.pre_tokenizers.Split(library.Regex(_CUTS[cut]), "isolated")
    if settings.kind == "char":
        table = _most_frequent(counts, settings.min_frequency, most)
    elif settings.kind == "word":
        words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
        table = _most_frequent(words, settings.min_frequency, most)
    else:
        alphabet = _most_frequent(counts, settings.min_frequency, most * 3 // 4)
        unspaced = 0 if settings.pretokenized else sum(n for name, n in counts.items() if starts_unspaced(name))
        step = -(-(counts.total() + _UNSPACED_COST[settings.kind] * unspaced) // _SAMPLE_CHARACTERS)
        return _train_subwords(settings, texts[::step], set(counts) - set(alphabet), specials, splitter)
    model = library.models.WordLevel({name: i for i, name in enumerate([*specials, *table])}, unk_token=specials[3])
    return _wrap(library.Tokenizer(model), settings, splitter, len(specials))


def _train_subwords(
    settings: TokenizerSettings,
    texts: list[str],
    rare: set[str],
    specials: list[str],
    splitter: library.pre_tokenizers.PreTokenizer,
) -> _Pieces:
    """Rare characters break a word while learning, so they get no token and no part in one."""
    table = str.maketrans(dict.fromkeys(sorted(rare), " "))
    lines: Iterator[str] = (text.translate(table) for text in texts) if rare else iter(texts)
    if settings.kind == "bpe":
        model = library.Tokenizer(library.models.BPE(unk_token=specials[3], fuse_unk=True))
        trainer = library.trainers.BpeTrainer(
            vocab_size=settings.vocab_size,
            min_frequency=settings.min_frequency,
            special_tokens=specials,
            max_token_length=24,
            show_progress=False,
        )
    else:
        model = library.Tokenizer(library.models.Unigram())
        trainer = library.trainers.UnigramTrainer(
            vocab_size=settings.vocab_size, special_tokens=specials, unk_token=specials[3], show_progress=False
        )
    model.pre_tokenizer = library.pre_tokenizers.Sequence([library.pre_tokenizers.Split(" ", "removed"), splitter])
    model.train_from_iterator(lines, trainer)
    return _wrap(model, settings, splitter, len(specials))


def _most_frequent(counts: Counter[str], at_least: int, most: int) -> list[str]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept = [name for name, count in ranked if count >= at_least][:most]
    return kept or [name for name, _ in ranked[:most]]  # a corpus so small that nothing repeats


def _wrap(
    model: library.Tokenizer, settings: TokenizerSettings, splitter: library.pre_tokenizers.PreTokenizer, n_special: int
) -> _Pieces:
    """The trained model without "added tokens": the library would look for those in the user's text."""
    model.pre_tokenizer = splitter
    document = json.loads(model.to_str())
    document["added_tokens"] = []
    if settings.kind == "unigram":
        vocabulary = document["model"]["vocab"]
        document["model"]["vocab"] = vocabulary[:n_special] + _in_fixed_order(vocabulary[n_special:])
    return _Pieces(library.Tokenizer.from_str(json.dumps(document)), settings, n_special)


def _in_fixed_order(scored: list[list]) -> list[list]:
    """Unigram pieces as a function of the text alone.

    The library gives characters which its pruning lost the scores least, least + 0.0001, least + 0.0002 ... in an order
    that differs from run to run: here all of them get the least. Sums also differ in their last digits.
    """
    least = min((score for _, score in scored), default=0.0)
    steps = {name: (score - least) / 0.0001 for name, score in scored if len(name) == 1}
    lost = {name for name, step in steps.items() if step < len(steps) and abs(step - round(step)) < 1e-4}
    fixed = [[name, round(least if name in lost else score, 4)] for name, score in scored]
    return sorted(fixed, key=lambda item: (-item[1], item[0]))


def _restore(settings: TokenizerSettings, specials: list[str], document: dict | None) -> _Pieces | _Bytes:
    if settings.kind == "byte":
        return _Bytes(settings, specials)
    return _Pieces(library.Tokenizer.from_str(json.dumps(document)), settings, len(specials))
