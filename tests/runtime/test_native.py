"""The library finds what the plain search finds: in float32 the same tokens, for every kind of model; in int8 nearly so."""

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sightline.decoding import DecodingSettings, Hypothesis, beam_search, greedy
from sightline.decoding.searcher import Searcher
from sightline.decoding.shortlist import Lexicon, Shortlist
from sightline.errors import ConfigError
from sightline.models.build import build_model
from sightline.models.config import TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.runtime.modules import parts_of_modules
from sightline.runtime.native import Native, NotNative, native_library
from sightline.runtime.translator import Translator, load
from sightline.tasks.search import translate

needs_library = pytest.mark.skipif(
    native_library() is None and os.environ.get("SIGHTLINE_NATIVE") != "required",
    reason="the extra `native` is not installed: make native",
)

VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "norms first": {"norm_at": "pre", "norm": "rms", "bias": False},
    "rotary, grouped": {"position": "rotary", "n_kv_heads": 2, "feedforward": "swiglu"},
    "learned, single": {"position": "learned", "n_kv_heads": 1, "feedforward": "gelu", "output_bias": True},
    "cosine, nowhere": {"attention": "cosine", "position": "none", "tie_embeddings": False, "share_embeddings": False},
    "odd sizes": {"d_model": 36, "n_heads": 3, "d_ff": 50, "feedforward": "silu", "n_encoder_layers": 3},
    "wide heads": {"d_model": 72, "n_heads": 2, "norm_at": "pre"},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"beam": 1},
    "narrow": {"beam": 2, "n_best": 2},
    "wide": {"beam": 5, "n_best": 5, "stop": "first", "length_norm": "average", "length_penalty": 1.2},
    "wider than the vocabulary": {"beam": 40, "n_best": 40, "length_norm": "none"},
    "long": {"beam": 3, "n_best": 3, "min_len": 6, "length_norm": "average", "length_penalty": -0.5},
}


def model(vocab: int = 30, **settings: Any) -> EncoderDecoder:
    torch.manual_seed(5)
    sizes = {"d_model": 32, "n_heads": 4, "d_ff": 48, "n_encoder_layers": 2, "n_decoder_layers": 2, "max_len": 40}
    built = build_model(TransformerConfig(**{**sizes, **settings}), vocab, vocab)
    with torch.no_grad():  # first weights would write the same token over and over
        for p in built.parameters():
            p.mul_(1.0 + torch.rand_like(p))
        if built.head.bias is not None:
            built.head.bias.normal_()
        for module in built.modules():
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.normal_(0.0, 0.1)
    return built.eval()


def native(plain: EncoderDecoder, precision: str, shortlist: Shortlist | None = None) -> Native:
    return Native(parts_of_modules(plain), precision, shortlist)


def sources(count: int = 7, vocab: int = 30) -> list[list[int]]:
    numbers = torch.Generator().manual_seed(2)
    lengths = torch.randint(1, 12, (count,), generator=numbers).sort(descending=True).values.tolist()
    return [[*torch.randint(3, vocab, (n,), generator=numbers).tolist(), 2] for n in lengths]


def plainly(plain: EncoderDecoder, texts: list[list[int]], settings: DecodingSettings) -> list[list[Hypothesis]]:
    src = nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    return (
        [[best] for best in greedy(plain, src, settings)] if settings.beam == 1 else beam_search(plain, src, settings)
    )


def same(one: list[list[Hypothesis]], other: list[list[Hypothesis]]) -> None:
    for ours, theirs in zip(one, other, strict=True):
        assert [(h.tokens, h.finished) for h in ours] == [(h.tokens, h.finished) for h in theirs]
        for h, k in zip(ours, theirs, strict=True):
            assert h.token_log_probs == pytest.approx(k.token_log_probs, rel=1e-3, abs=3e-4)


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("search", SEARCHES)
def test_in_float32_it_finds_the_same(variant: str, search: str) -> None:
    plain, texts = model(**VARIANTS[variant]), sources()
    settings = DecodingSettings(max_len_ratio=1.0, max_len_extra=6, **SEARCHES[search])
    same(native(plain, "fp32").search(texts, settings, 1), plainly(plain, texts, settings))


class Shortlisted:
    """What a shortlist means: all other tokens have no logits."""

    def __init__(self, model: EncoderDecoder, shortlist: Shortlist) -> None:
        self.model, self.shortlist = model, shortlist
        self.pad_id, self.bos_id, self.eos_id, self.max_len = model.pad_id, model.bos_id, model.eos_id, model.max_len

    def start(self, src: torch.Tensor) -> Any:
        state: Any = self.model.start(src)
        state.others = torch.ones(len(src), len(self.model.head.weight), dtype=torch.bool)
        for others, source in zip(state.others, src.tolist(), strict=True):
            others[self.shortlist.of([token for token in source if token != self.pad_id])] = False
        reorder = state.reorder

        def both(index: torch.Tensor) -> None:
            reorder(index)
            state.others = state.others[index]

        state.reorder = both
        return state

    def step(self, tokens: torch.Tensor, state: Any) -> torch.Tensor:
        return self.model.step(tokens, state).masked_fill(state.others, -torch.inf)


def lists(vocab: int, of: int) -> Shortlist:
    """For each of `vocab` source tokens `of` target tokens, at random."""
    numbers = np.random.default_rng(4)
    tokens = np.concatenate([np.sort(numbers.choice(np.arange(3, vocab), of, replace=False)) for _ in range(vocab)])
    starts = np.arange(0, len(tokens) + 1, of)
    return Shortlist({-1: Lexicon(starts.astype(np.int32), tokens.astype(np.int32), np.array([2, 7], np.int32))})


@needs_library
@pytest.mark.parametrize("variant", ["as published", "learned, single", "odd sizes"])
@pytest.mark.parametrize("search", [search for search in SEARCHES if "vocabulary" not in search])
def test_with_a_shortlist_it_finds_the_best_translations_of_these_tokens(variant: str, search: str) -> None:
    plain, texts, shortlist = model(300, **VARIANTS[variant]), sources(vocab=300), lists(300, 6)
    settings = DecodingSettings(max_len_ratio=1.0, max_len_extra=6, **SEARCHES[search])
    found = native(plain, "fp32", shortlist).search(texts, settings, 1)
    same(found, plainly(Shortlisted(plain, shortlist), texts, settings))  # pyright: ignore[reportArgumentType]
    assert found != native(plain, "fp32").search(texts, settings, 1)


@needs_library
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_shortlist_of_all_words_takes_nothing_but_the_share_of_padding_and_begin(precision: str) -> None:
    plain, texts, settings = model(300), sources(20, 300), DecodingSettings(beam=1, max_len_ratio=1.0)
    whole = Shortlist({-1: Lexicon(np.zeros(301, np.int32), np.zeros(0, np.int32), np.arange(2, 300, dtype=np.int32))})
    found, all_tokens = (native(plain, precision, each).search(texts, settings, 1) for each in (whole, None))
    for [one], [other] in zip(found, all_tokens, strict=True):
        assert one.tokens == other.tokens
        assert other.log_prob < one.log_prob


@needs_library
def test_a_shortlist_narrower_than_the_beam_is_enough() -> None:
    few = Shortlist({-1: Lexicon(np.zeros(31, np.int32), np.zeros(0, np.int32), np.array([2, 9], np.int32))})
    found = native(model(), "int8", few).search(sources(), DecodingSettings(beam=8, n_best=8, max_len_extra=3), 1)
    assert {token for each in found for hypothesis in each for token in hypothesis.tokens} == {9}


@needs_library
@pytest.mark.parametrize("shortlist", [None, lists(700, 40)], ids=["all tokens", "shortlist"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_sentence_is_translated_the_same_alone_among_others_and_by_any_number_of_threads(
    precision: str, shortlist: Shortlist | None
) -> None:
    texts = sources(120, 700)
    fast, settings = native(model(700), precision, shortlist), DecodingSettings(beam=4, n_best=4, max_len_ratio=1.0)
    together = fast.search(texts, settings, 1)
    assert fast.search(texts, settings, 3) == together
    for threads in (1, 2):
        assert [fast.search([text], settings, threads)[0] for text in texts] == together
    assert len({tuple(found[0].tokens) for found in together}) > 60


@needs_library
@pytest.mark.parametrize("variant", VARIANTS)
def test_int8_is_near(variant: str) -> None:
    plain, texts = model(300, **VARIANTS[variant]), sources(40, 300)
    settings = DecodingSettings(beam=1, max_len_ratio=1.0)
    exact, near = (native(plain, precision).search(texts, settings, 1) for precision in ("fp32", "int8"))
    apart = [abs(one.token_log_probs[0] - other.token_log_probs[0]) for [one], [other] in zip(exact, near, strict=True)]
    assert sum(apart) < 0.5 * len(
        apart
    )  # such random models are far more sensitive than trained ones: see the next test
    assert exact != near
    alike = [one.tokens[0] == other.tokens[0] for [one], [other] in zip(exact, near, strict=True) if one.tokens]
    assert sum(alike) > 0.5 * len(alike)


@needs_library
def test_the_built_in_model_in_int8_translates_as_in_float32() -> None:

    from sightline.data.sources import CorpusSettings, read_pairs
    from sightline.metrics.translation import corpus_bleu

    pairs = list(read_pairs(CorpusSettings(pairs="bundled:tatoeba-en-de.test.tsv.gz"), Path()))[:1200:4]
    refs, texts = [[pair.tgt] for pair in pairs], [pair.src for pair in pairs]
    exact, near = (load(precision=precision)(texts, "de", beam=2) for precision in ("fp32", "int8"))
    scores = [corpus_bleu(found, refs, lang="de").score for found in (exact, near)]
    assert scores[1] > scores[0] - 0.5 > 30  # 300 sentences; on all of a test set it is within 0.2
    assert sum(one == other for one, other in zip(exact, near, strict=True)) > 240


@needs_library
def test_translating_goes_through_it_and_other_searches_do_not() -> None:
    fast = load(precision="fp32")
    assert isinstance(fast.searched, Native) and isinstance(fast.searched, Searcher)
    texts = ["Where is the station?", "", "I love you.", "My father is a doctor."]
    tokenizer, settings = fast.bundle.tokenizer, fast.settings(beam=3)
    plain = translate(fast.model, tokenizer, texts, ["zh"] * 4, settings, 256)
    ours = fast.translate(texts, "zh", beam=3)
    assert [best[0].text for best in ours] == [best[0].text for best in plain]
    assert not fast.searched.searches(fast.settings(no_repeat_ngram=2))
    assert fast("I love you.", "zh", prefix="我", no_repeat_ngram=2).startswith("我")
    assert list(fast.partial("I love you.", "zh"))[-1] == fast("I love you.", "zh", beam=1)


@needs_library
def test_ctrl_c_ends_it() -> None:
    fast, settings, begun = native(model(700), "fp32"), DecodingSettings(beam=8, min_len=39), threading.Event()
    library = fast.library
    names = ("sightline_error", "sightline_sizes", "sightline_results", "sightline_free_work")

    def search(*arguments: Any) -> Any:
        begun.set()
        return library.sightline_search(*arguments)

    fast.library = SimpleNamespace(  # pyright: ignore[reportAttributeAccessIssue]
        **{name: getattr(library, name) for name in names}, sightline_search=search
    )
    main = threading.get_ident()
    presser = threading.Thread(target=lambda: (begun.wait(60), signal.pthread_kill(main, signal.SIGINT)))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs behind it ignore Ctrl-C
    try:
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            fast.search(sources(300, 700) * 60, settings, 2)  # seconds of work, if nobody ends it
        presser.join()
    finally:
        signal.signal(signal.SIGINT, before)


@needs_library
def test_what_it_does_not_know_is_said() -> None:
    plain = model()
    plain.decoder.get_submodule("0").ffn.activation = torch.tanh  # pyright: ignore
    with pytest.raises(NotNative, match="feed-forward"):
        parts_of_modules(plain)
    with pytest.raises(ValueError, match="1 to 40 tokens, not 0 to 3"):
        native(model(), "int8").search([[4, 5, 2], []], DecodingSettings(), 1)
    with pytest.raises(ValueError, match="tokens 2 to 30, and the model knows 30"):
        native(model(), "int8").search([[4, 30, 2]], DecodingSettings(), 1)
    bundle = load(precision="fp32").bundle
    with pytest.raises(ConfigError, match="one model at a time"):
        Translator(bundle, bundle, precision="int8")
    assert Translator(bundle, bundle).precision in ("fp32", "bf16")


def test_without_it_everything_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.runtime.native.native_library", lambda: None)
    with pytest.raises(ConfigError, match="make native"):
        load(precision="int8")
    plain = load()
    assert plain.precision in ("fp32", "bf16") and plain("I love you.", "de", beam=1) == "Ich liebe dich."
