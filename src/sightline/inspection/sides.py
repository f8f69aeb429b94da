"""The two texts of a capture: which token is which part of a text, and which tokens are a word."""

from collections.abc import Sequence
from dataclasses import replace

from sightline.bundle import Bundle
from sightline.data.normalise import BLANK, starts_unspaced
from sightline.data.tokenizers import Span
from sightline.inspection.manifest import Side, Token
from sightline.metrics.scripts import HAN


def both_sides(
    bundle: Bundle, src_text: str, to: str, src_ids: list[int], inputs: list[int], labels: list[int]
) -> tuple[Side, Side, list[Token]]:
    """The source, what the decoder reads of the translation, and the tokens that it writes: `labels`, one for each it reads."""
    tokenizer, tagged = bundle.tokenizer, bool(to)
    text, spans = tokenizer.spans_src(src_text)
    framed: list[Span | None] = [*([None] if tagged else []), *spans, None]
    special = {tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    special |= {tokenizer.tag_id(tag) for tag in tokenizer.tags}
    names = tokenizer.names_src(), tokenizer.names_tgt()
    src = _side(text, _source_language(bundle, src_text, to), src_ids, framed, names[0], special)
    written = [token for token in labels if token != tokenizer.eos_id]
    tgt_text, tgt_spans = tokenizer.spans_tgt(written)
    both = [None, *tgt_spans, *([None] if len(written) < len(labels) else [])]  # begin, y1 ... ym, end
    whole = _side(tgt_text, to or bundle.config.tgt_lang, [inputs[0], *labels], both, names[1], special)
    tgt = Side(whole.text, whole.lang, whole.tokens[:-1], whole.words)
    return src, tgt, whole.tokens[1:]


def _source_language(bundle: Bundle, text: str, to: str) -> str:
    """The configured one; of a model with tags, one that the text can be in: "" if that is not known."""
    config, tags = bundle.config, bundle.tokenizer.tags
    if not tags:
        return config.src_lang
    if "zh" in tags and HAN.search(text):
        return "zh"
    return config.src_lang if config.src_lang != to else ""


def _side(
    text: str, lang: str, ids: list[int], spans: Sequence[Span | None], names: list[str], special: set[int]
) -> Side:
    tokens: list[Token] = []
    words: list[Span] = []
    blanks: list[int] = []
    open_word, before = False, ""
    for i, (token, span) in enumerate(zip(ids, spans, strict=True)):
        piece = names[token]
        if token in special or span is None:
            tokens.append(Token(token, piece, "", True, -1, span))
            open_word = open_word and span is None
            continue
        start, end = span
        shown = text[start:end]
        partial = piece.startswith("<0x") and len(shown.encode("utf-8", "replace")) > 1
        if not shown.strip():  # a blank by itself: of the word after it or, at the end, before it
            tokens.append(Token(token, piece, " ", False, len(words), span))
            blanks.append(i)
            open_word = False
            continue
        same_sign = partial and i > 0 and spans[i - 1] == span
        if not same_sign and (not open_word or piece.startswith(BLANK) or _cut_between(before, shown)):
            words.append((start, end))
        else:
            words[-1] = (words[-1][0], max(end, words[-1][1]))
        open_word, before = not shown.isspace(), shown
        tokens.append(Token(token, piece, shown, False, len(words) - 1, span, partial))
    for i in blanks:
        tokens[i] = replace(tokens[i], word=min(tokens[i].word, len(words) - 1))
    return Side(text, lang, tokens, [text[start:end].strip() for start, end in words])


def _cut_between(before: str, after: str) -> bool:
    """Whether two pieces without a blank between are two words: punctuation, and what is written without blanks."""
    if starts_unspaced(before) or starts_unspaced(after):
        return True
    return not _has_letter(before) or not _has_letter(after)


def _has_letter(text: str) -> bool:
    return any(sign.isalnum() for sign in text)
