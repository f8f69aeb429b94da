"""From files of sentence pairs to a folder ready to train on: checked, split, tokenised, and reported on."""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sightline.data.evaluation import EvaluationSet, held_out, read_set, save_examples
from sightline.data.groups import choose_groups, connected_groups
from sightline.data.lines import COMPRESSED
from sightline.data.measures import Measures
from sightline.data.prepared import Prepared, fingerprint_of, known_as, written_with
from sightline.data.report import Dropped, Report, Sample, SetAside
from sightline.data.settings import DataSettings
from sightline.data.sides import check_order
from sightline.data.sources import CorpusSettings, Row, read_pairs
from sightline.data.survey import DROPPED, HELD_TEST, HELD_VALID, IN_TEST, IN_VALID, KEEP, Progress, Survey, tidy
from sightline.data.text import PairWriter
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.errors import ConfigError, DataError
from sightline.files import atomic_folder, check_free_space, restore_folder, sha256

_CHUNK = 2000
_EXAMPLES = 3
_JUDGED_FROM = 10
_HEADINGS = {"source", "target", "src", "tgt", "text", "translation", "reference", "sentence", "english"}
TOO_LONG = "more tokens than max_len"
BAD_RATIO = "lengths too different (max_ratio)"


def prepare(
    data: DataSettings,
    tokenizer: TokenizerSettings | Tokenizer,
    folder: Path,
    base: Path,
    progress: Progress | None = None,
) -> Prepared:
    """Check, split and tokenise a corpus into `folder`, or open what an earlier call with the same input left there.

    Args:
        data: what to read; relative file names are taken from `base`.
        tokenizer: settings to train one on the training text, or a trained one to use.
        folder: written whole or not at all.
        base: see `data`.
        progress: called now and then with what is being done, how many are done, and of how many if known.

    Raises DataError or ConfigError, naming file and line, for whatever cannot be used. The corpus is read several times
    and never held in memory: that grows by some 60 bytes a pair.
    """
    folder, base = Path(folder), Path(base)
    if data.both_directions and not _settings(tokenizer).joint:
        raise ConfigError("both_directions needs one vocabulary for both languages: set tokenizer.joint = true.")
    if isinstance(tokenizer, Tokenizer):
        for tag in data.tags():
            tokenizer.tag_id(tag)
        if tokenizer.tags and not data.tags():
            raise ConfigError(
                f"The model to start from is told its target language by a tag ({', '.join(tokenizer.tags)}): set "
                "data.tag_target = true."
            )
    restore_folder(folder)
    fingerprint = fingerprint_of(data, tokenizer, base)
    if written_with(folder) == fingerprint:
        return Prepared.open(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "meta.json").is_file():
        raise DataError(
            f"{folder} holds files that sightline did not write, and the prepared corpus would take their place. "
            "Choose another folder with --out."
        )
    files = [path for corpus in data.corpora() for path in corpus.paths(base) if path.is_file()]
    check_free_space(folder.parent, 50_000_000 + sum(_unpacked_size(path) for path in files) * 3)
    with atomic_folder(folder) as partial:
        preparation = _Preparation(data, base, partial, progress)
        preparation.run(tokenizer)
        hashes = {known_as(path, files): sha256(path) for path in files}
        for name in ("valid", "test"):
            if (partial / f"{name}.jsonl").exists():
                hashes[f"{name}.jsonl as used"] = sha256(partial / f"{name}.jsonl")
        languages = {"src_lang": data.train[0].src_lang, "tgt_lang": data.train[0].tgt_lang}
        meta = {"fingerprint": fingerprint, "hashes": hashes, **languages}
        (partial / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
    return Prepared.open(folder)


class _Preparation:
    """The steps of one `prepare`, in the order of `run`."""

    def __init__(self, data: DataSettings, base: Path, folder: Path, progress: Progress | None):
        self.data, self.base, self.folder, self.progress = data, base, folder, progress
        self.dropped: dict[str, Dropped] = {}
        self.warnings: list[str] = []
        self.sets: dict[str, EvaluationSet] = {}
        self.held: dict[int, list[tuple[CorpusSettings, Row]]] = {HELD_VALID: [], HELD_TEST: []}
        self.measures = Measures()
        self.samples: list[Sample] = []
        self.seconds: dict[str, float] = {}

    def run(self, given: TokenizerSettings | Tokenizer) -> None:
        began = time.perf_counter()
        self.survey = Survey(self.data.train, self.base, self.progress)
        self._look_for_headers()
        self._read_sets()
        self._split()
        self._lap("survey", began)
        began = time.perf_counter()
        self.tokenizer = given if isinstance(given, Tokenizer) else self._train_tokenizer(given)
        self.tokenizer.save(self.folder / "tokenizer.json")
        self._lap("vocabulary", began)
        began = time.perf_counter()
        kept = self._write()
        for fate, name in ((HELD_VALID, "valid"), (HELD_TEST, "test")):
            if self.held[fate]:
                self.sets[name] = held_out(self.held[fate], self.data.directions)
        for name, found in self.sets.items():
            save_examples(self.folder / f"{name}.jsonl", found.examples)
        self._lap("tokens", began)
        (self.folder / "report.json").write_text(self._report(kept).to_json(), encoding="utf-8")

    def _lap(self, name: str, began: float) -> None:
        self.seconds[name] = round(time.perf_counter() - began, 1)

    def _look_for_headers(self) -> None:
        for i, corpus in enumerate(self.data.train):
            first = next(read_pairs(corpus, self.base), None) if corpus.pairs and corpus.format != "hub" else None
            if first is None:
                continue
            src, tgt = first.src.strip(), first.tgt.strip()
            codes = src != tgt and all(len(text) == 2 and text.isascii() and text.isalpha() for text in (src, tgt))
            known = {*_HEADINGS, corpus.src_lang.casefold(), corpus.tgt_lang.casefold()} - {""}
            if codes or {src.casefold(), tgt.casefold()} <= known:
                number = f".{i}" if len(self.data.train) > 1 else ""
                self.warnings.append(
                    f"{corpus.place(first.line)} reads '{src} | {tgt}', as a header does, and was taken for a pair. If it is "
                    f'a header, name the columns by it: \'data.train{number}.columns=["{src}", "{tgt}"]\''
                )

    def _read_sets(self) -> None:
        for name in ("valid", "test"):
            found = [self._read_set(self.data.completed(corpus)) for corpus in getattr(self.data, name)]
            if found:
                self.sets[name] = EvaluationSet.joined(found)
        if len(self.sets) == 2:
            sources = ({(e.src, e.direction) for e in found.examples} for found in self.sets.values())
            if shared := len(set.intersection(*sources)):
                self.warnings.append(f"{shared:,} sources are both in the validation and in the test set.")

    def _read_set(self, corpus: CorpusSettings) -> EvaluationSet:
        found = read_set(corpus, self.base, self.data.directions(corpus), self.data.merge_references)
        first = self.data.train[0]
        if (corpus.src_lang, corpus.tgt_lang) == (first.src_lang, first.tgt_lang):
            check_order(self.survey.sides[0], first.names(), found.sides, corpus.names())
        if found.empty:
            self.warnings.append(f"{found.empty:,} pairs of {corpus.names()} have an empty side and were left out.")
        return found

    def _split(self) -> None:
        survey, data = self.survey, self.data
        if not data.drop_copies:
            survey.keep_copies()
        for name, why in (("test", IN_TEST), ("valid", IN_VALID)):
            if name in self.sets:
                survey.drop_sentences(self.sets[name].src_keys, self.sets[name].tgt_keys, why, data.several_ways)
        self.duplicates = survey.find_duplicates(drop=data.drop_duplicates)
        survey.forget_pairs()
        wanted = self._hold_out_sizes(int((survey.fate == KEEP).sum()))
        if any(wanted.values()):
            rows = np.flatnonzero(survey.fate == KEEP)
            hashes = survey.src_keys[rows]
            labels = connected_groups(hashes, survey.tgt_keys[rows], data.several_ways)
            for fate, count in wanted.items():
                free = survey.fate[rows] == KEEP
                chosen = np.flatnonzero(free)
                _, first = np.unique(labels[chosen], return_inverse=True)
                taken = choose_groups(first.astype(np.int64), hashes[chosen], count, data.split_seed + fate)
                survey.fate[rows[chosen[taken]]] = fate
                found = len(np.unique(hashes[chosen[taken]]))
                if found < count:
                    self.warnings.append(
                        f"{count:,} sources were to be set aside, and only {found:,} could be: the others are tied to "
                        "too many sentences by translations they share."
                    )
        if not (survey.fate == KEEP).any():
            raise DataError(self._nothing_left())

    def _hold_out_sizes(self, pairs: int) -> dict[int, int]:
        data = self.data
        automatic = 0 if data.valid else min(1000, pairs // 50)
        wanted = {HELD_TEST: 0, HELD_VALID: 0}
        for fate, given, count in (
            (HELD_TEST, data.test, data.hold_out_test),
            (HELD_VALID, data.valid, data.hold_out_valid),
        ):
            wanted[fate] = 0 if given else automatic if count is None else count
        if sum(wanted.values()) * 2 > pairs > 0:
            raise DataError(
                f"{wanted[HELD_VALID]:,} sentences for validation and {wanted[HELD_TEST]:,} for the test are more than "
                f"half of the {pairs:,} pairs that can be used: set hold_out_valid and hold_out_test lower."
            )
        return wanted

    def _nothing_left(self) -> str:
        counts = np.bincount(self.survey.fate, minlength=8)
        why = ", ".join(f"{counts[fate]:,}: {text}" for fate, text in DROPPED.items() if counts[fate])
        return f"no pairs are left to train on: of {len(self.survey.fate):,} in {self.data.names()} were dropped {why}."

    def _rows(self, doing: str) -> Iterator[tuple[int, CorpusSettings, Row, int]]:
        """Number of the corpus, corpus, pair and fate of every pair, in the order of the survey."""
        total, at = len(self.survey.fate), 0
        for i, corpus in enumerate(self.data.train):
            for row in read_pairs(corpus, self.base):
                if at == total:
                    break
                yield i, corpus, row, int(self.survey.fate[at])
                at += 1
                if self.progress and at % 10_000 == 0:
                    self.progress(doing, at, total)
        if at != total:
            raise DataError(f"{self.data.names()} changed while they were read: run again when they are complete.")
        if self.progress:
            self.progress(doing, total, total)

    def _train_tokenizer(self, settings: TokenizerSettings) -> Tokenizer:
        kept = int((self.survey.fate == KEEP).sum())
        most = settings.sample_lines
        chosen = np.sort(np.random.default_rng(0).choice(kept, most, replace=False)) if kept > most else None

        def lines(side: str) -> Iterator[str]:
            ordinal = itertools.count()
            wanted = iter(chosen) if chosen is not None else None
            following = next(wanted) if wanted is not None else None
            for _, _, row, fate in self._rows("learning the vocabulary"):
                if fate != KEEP:
                    continue
                if wanted is None:
                    yield getattr(row, side)
                elif next(ordinal) == following:
                    yield getattr(row, side)
                    following = next(wanted, None)

        return Tokenizer.train(settings, lines("src"), lines("tgt"), self.data.tags())

    def _write(self) -> int:
        sizes = self.tokenizer.src_vocab_size, self.tokenizer.tgt_vocab_size
        writer = PairWriter(self.folder, "train", self.tokenizer.settings.dropout > 0, vocab_size=max(sizes))
        counts: dict[str, int] = {}
        examples: dict[str, list[str]] = {}

        def drop(reason: str, corpus: CorpusSettings, row: Row) -> None:
            counts[reason] = counts.get(reason, 0) + 1
            if len(shown := examples.setdefault(reason, [])) < _EXAMPLES:
                shown.append(f"{corpus.place(row.line)} {tidy(row.src)[:60]} | {tidy(row.tgt)[:60]}")

        kept = 0
        chunk: list[tuple[int, CorpusSettings, Row]] = []
        for i, corpus, row, fate in self._rows("tokenising"):
            if chunk and (len(chunk) == _CHUNK or chunk[0][0] != i):
                kept += self._add(writer, chunk, drop)
                chunk = []
            if fate == KEEP:
                chunk.append((i, corpus, row))
            elif fate in self.held:
                self.held[fate].append((corpus, row))
            else:
                drop(DROPPED[fate], corpus, row)
        if chunk:
            kept += self._add(writer, chunk, drop)
        writer.close()
        self.dropped = {reason: Dropped(counts[reason], tuple(examples[reason])) for reason in counts}
        if not kept:
            raise DataError(
                f"no pairs are left to train on: all in {self.data.names()} are longer than "
                f"max_len = {self.data.max_len} tokens, or their lengths differ by more than "
                f"max_ratio = {self.data.max_ratio}."
            )
        return kept

    def _add(self, writer: PairWriter, chunk: Sequence[tuple[int, CorpusSettings, Row]], drop: Any) -> int:
        """Tokenise a chunk of one corpus and append the pairs that fit, in each direction."""
        corpus = chunk[0][1]
        texts = [row.src for _, _, row in chunk], [row.tgt for _, _, row in chunk]
        src, tgt = self.tokenizer.encode_src(texts[0]), self.tokenizer.encode_tgt(texts[1])
        most = self.data.max_len - bool(self.data.tags())
        fits = []
        for k, (_, _, row) in enumerate(chunk):
            shorter, longer = sorted((len(src[k]), len(tgt[k])))
            if longer > most:
                drop(TOO_LONG, corpus, row)
            elif longer > _JUDGED_FROM and longer > self.data.max_ratio * shorter:
                drop(BAD_RATIO, corpus, row)
            else:
                fits.append(k)
        if not fits:
            return 0
        src, tgt, src_texts, tgt_texts = ([side[k] for k in fits] for side in (src, tgt, *texts))
        for exchanged, to in self.data.directions(corpus):
            tag = [self.tokenizer.tag_id(to)] if to else []
            ids, out = (tgt, src) if exchanged else (src, tgt)
            from_texts, to_texts = (tgt_texts, src_texts) if exchanged else (src_texts, tgt_texts)
            writer.add([tag + row for row in ids] if tag else ids, out, from_texts, to_texts, to, chunk[0][0])
        self.measures.add(src, tgt, self.tokenizer.unk_id)
        for s, t in zip(src_texts, tgt_texts, strict=True):
            if len(self.samples) >= _EXAMPLES:
                break
            pieces = self.tokenizer.pieces_src(s), self.tokenizer.pieces_tgt(t)
            if len(pieces[0]) > 4:
                self.samples.append(Sample(" | ".join(pieces[0]), " | ".join(pieces[1])))
        return len(fits)

    def _report(self, kept: int) -> Report:
        survey, settings = self.survey, self.tokenizer.settings
        src_lengths, tgt_lengths = self.measures.lengths
        read = len(survey.fate)
        self._warn(read, kept, self.measures.correlation)
        return Report(
            corpora={corpus.names(): size for corpus, size in zip(self.data.train, survey.sizes, strict=True)},
            read=read,
            kept=kept,
            held_out=sum(map(len, self.held.values())),
            dropped=self.dropped,
            duplicates=self.duplicates,
            duplicates_dropped=self.data.drop_duplicates,
            unknown=self.measures.unknown,
            copies=survey.copies,
            src_lengths=src_lengths,
            tgt_lengths=tgt_lengths,
            ratio=round(self.measures.ratio, 3),
            correlation=round(self.measures.correlation, 3),
            tokenizer=settings.kind,
            src_vocab_size=self.tokenizer.src_vocab_size,
            tgt_vocab_size=self.tokenizer.tgt_vocab_size,
            joint=settings.joint,
            sets={name: self._describe(name, found) for name, found in self.sets.items()},
            samples=tuple(self.samples),
            warnings=tuple(self.warnings),
            seconds=self.seconds,
        )

    def _describe(self, name: str, found: EvaluationSet) -> SetAside:
        reason = DROPPED[IN_VALID if name == "valid" else IN_TEST]
        inside = self.dropped[reason].count if reason in self.dropped else 0
        unknown, shown, too_long = found.unknown(self.tokenizer, self.data.max_len)
        if inside:
            self.warnings.append(
                f"{inside:,} training pairs hold a sentence of the {name} set"
                f"{', or are connected to one,' if self.data.several_ways else ''} and were left out of training: "
                f"for example {self.dropped[reason].examples[0]}"
            )
        if too_long:
            self.warnings.append(f"{too_long:,} sources of the {name} set have more than {self.data.max_len} tokens.")
        references = sum(len(example.refs) for example in found.examples)
        return SetAside(found.origin, len(found.examples), references, inside, unknown, tuple(shown), too_long)

    def _warn(self, read: int, kept: int, correlation: float) -> None:
        if correlation < 0.3 and kept >= 200:
            self.warnings.append(
                f"The lengths of the two sides hardly go together (correlation {correlation:.2f}): do lines "
                "1, 2, 3 ... of the two sides translate each other? Look at the samples above."
            )
        if self.survey.copies > read / 5 and "drop_copies" not in self.data.model_fields_set:  # else it was considered
            self.warnings.append(
                f"{self.survey.copies:,} of {read:,} pairs have both sides the same: is one file given twice? "
                "(drop_copies = true leaves such pairs out.)"
            )
        for reason in (TOO_LONG, BAD_RATIO):
            if reason in self.dropped and self.dropped[reason].count > read / 10:
                self.warnings.append(f"{self.dropped[reason].count:,} of {read:,} pairs were dropped: {reason}.")


def _settings(tokenizer: TokenizerSettings | Tokenizer) -> TokenizerSettings:
    return tokenizer.settings if isinstance(tokenizer, Tokenizer) else tokenizer


def _unpacked_size(path: Path) -> int:
    return path.stat().st_size * (4 if path.suffix in COMPRESSED else 1)
