"""Captures: the right numbers of every kind of model, and nothing changed by looking."""

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.inspection.capture import (
    BEAM,
    SRC_TOKENS,
    Capture,
    CaptureError,
    Request,
    capture,
    weights_sha256,
)
from sightline.inspection.hooks import watched_pass, watching
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, RecurrentConfig, TransformerConfig
from sightline.models.encoder_decoder import EncoderDecoder
from sightline.models.sequence_to_sequence import AnyModel
from sightline.nn.cores import CORES, AttentionCore, masked_softmax
from sightline.nn.feedforward import FEEDFORWARDS
from sightline.nn.mask import Mask
from sightline.nn.norm import NORMS
from sightline.nn.position import POSITIONS
from sightline.runtime.translator import Translator


class Uniform(AttentionCore):
    """A core of somebody's own: every key that may be seen gets the same."""

    def weights(self, q: torch.Tensor, k: torch.Tensor, mask: Mask) -> torch.Tensor:
        return masked_softmax(torch.zeros(*q.shape[:-1], k.shape[-2]), mask)


SMALL = {"d_model": 16, "n_heads": 4, "d_ff": 20, "n_encoder_layers": 1, "n_decoder_layers": 2, "max_len": 40}
VARIANTS = {
    "paper": {},
    "pre": {"norm_at": "pre"},
    **{f"core {name}": {"attention": name} for name in CORES},
    "core of one's own": {"attention": "tests.inspection.test_capture:Uniform"},
    **{f"position {name}": {"position": name} for name in POSITIONS},
    **{f"ffn {name}": {"feedforward": name} for name in FEEDFORWARDS},
    **{f"norm {name}": {"norm": name, "norm_at": "pre"} for name in NORMS},
    "grouped": {"n_kv_heads": 2, "position": "rotary", "norm_at": "pre", "bias": False},
    "multi-query": {"n_kv_heads": 1},
    "single head, deep encoder": {"n_heads": 1, "n_encoder_layers": 3, "n_decoder_layers": 1},
    "untied": {"tie_embeddings": False, "share_embeddings": False, "output_bias": True},
}
RECURRENT = {
    "recurrent": {},
    "recurrent after": {"attend": "after", "cell": "lstm", "d_state": 12},
    "recurrent between": {"attend": "between", "n_heads": 2},
    "recurrent after, not fed": {"attend": "after", "input_feeding": False, "attention": "dot", "n_heads": 4},
    "recurrent deep": {"n_encoder_layers": 2, "n_decoder_layers": 2, "residual": True, "attention": "cosine"},
    "recurrent one way": {"bidirectional": False, "cell": "elman", "attention": "location", "layer_norm": True},
    "recurrent local": {"attention": "local", "attend": "after", "bridge": "mean"},
    "recurrent without attention": {"attention": "none", "n_decoder_layers": 2},
}
CONVOLUTIONAL = {
    "convolutional": {},
    "convolutional, several heads": {"attention": "dot", "n_heads": 4, "kernel_size": 5},
    "convolutional additive": {"attention": "additive", "position": "none", "weight_norm": False},
}
each = pytest.mark.parametrize("variant", VARIANTS)
of_any_family = pytest.mark.parametrize("variant", [*VARIANTS, *RECURRENT, *CONVOLUTIONAL])
TEXT = ["abcdefgh ab", "bad cab", "a feed bag"] * 3


def bundle(
    variant: str = "paper", tags: tuple[str, ...] = (), kind: str = "char", seed: int = 4, **decoding: object
) -> Bundle:
    size = 300 if kind == "byte" else 16
    tokenizer = Tokenizer.train(TokenizerSettings(kind=kind, vocab_size=size), TEXT, TEXT, tags)  # pyright: ignore[reportArgumentType]
    torch.manual_seed(seed)
    if variant in VARIANTS:
        config, model = _transformer(variant, tokenizer)
    else:
        family, more = (RecurrentConfig, RECURRENT) if variant in RECURRENT else (ConvolutionalConfig, CONVOLUTIONAL)
        config = family.model_validate({"d_model": 16, "max_len": 40, **more[variant]})
        model: AnyModel = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0.0, 0.15 if "embed" in name or "head" in name else 0.45)
    settings = DecodingSettings.model_validate({"max_len_ratio": 1.0, "max_len_extra": 2, **decoding})
    src, tgt = ("en", "zh") if tags else ("", "")
    return Bundle(BundleConfig(model=config, decoding=settings, src_lang=src, tgt_lang=tgt), model, tokenizer, "")


def _transformer(variant: str, tokenizer: Tokenizer) -> tuple[TransformerConfig, EncoderDecoder]:
    spec = {**SMALL, **VARIANTS[variant]}
    own = spec.get("attention") == "tests.inspection.test_capture:Uniform"
    config = TransformerConfig.model_validate({**spec, **({"attention": "dot"} if own else {})})
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    if own:  # by name it would have to be installed
        config = config.model_copy(update={"attention": "own:Uniform"})
        for block in (*model.encoder, *model.decoder):
            block.self_attn.core = Uniform()
            if block.cross_attn is not None:
                block.cross_attn.core = Uniform()
    return config, model


def asked(**more: object) -> Request:
    return Request(**{"model": "m", "src": "bad cab", "beam": 3, **more})  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def _without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translations come from the model itself, not from the library in C++, whose last digits are others."""
    monkeypatch.setattr("sightline.runtime.native.native_library", lambda: None)


def layers(found: Capture) -> list[tuple[str, int, int, bool]]:
    """Every attention: its address, queries, keys, and whether it is causal."""
    sizes = {"src": len(found.manifest.src.tokens), "tgt": len(found.manifest.tgt.tokens)}
    return [
        (f"{part}.{i}.{which}", sizes[stack.q], sizes[stack.k], stack.causal)
        for stack in found.manifest.model.stacks
        for part, _, which in [stack.name.partition(".")]
        for i in range(stack.layers)
    ]


@of_any_family
def test_watched_and_unwatched_outputs_are_the_same_bit_for_bit(variant: str) -> None:
    model = bundle(variant).model
    src, tgt = torch.tensor([[5, 6, 7, 8, 2]]), torch.tensor([[1, 9, 9, 4]])
    with torch.inference_mode():
        plain = model(src, tgt)
        with watching(model) as seen:
            watched = model(src, tgt)
        after = model(src, tgt)
    assert torch.equal(plain, watched) and torch.equal(plain, after)
    assert seen and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(watched_pass(model, src, tgt).logits, plain[0])


@of_any_family
def test_every_tensor_is_there_and_obeys_the_definition(variant: str) -> None:
    own = bundle(variant)
    found = capture(own, asked(tgt="feed a bag"))
    t, model = found.tensors, own.model
    for at, q, k, causal in layers(found):
        weights, z, v = t[f"{at}.weights"], t[f"{at}.z"], t[f"{at}.v"]
        attention: Any = model.get_submodule(at)
        h, d = attention.n_heads, attention.d_head
        assert weights.shape == (h, q, k) and z.shape == t[f"{at}.q"].shape == (h, q, d)
        assert v.shape == t[f"{at}.k"].shape == (h, k, d) and t[f"{at}.out"].shape == (q, h * d)
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(h, q))
        if causal:
            assert (weights.triu(1) == 0).all()
        torch.testing.assert_close(weights @ v, z, atol=1e-5, rtol=1e-5)
        again = attention.core.weights(t[f"{at}.q"][None], t[f"{at}.k"][None], Mask(causal=causal))[0]
        torch.testing.assert_close(again, weights)
        w, bias = attention.o_proj.weight, attention.o_proj.bias
        by_head = sum(z[i] @ w[:, i * d : (i + 1) * d].mT for i in range(h))
        torch.testing.assert_close(by_head + (0 if bias is None else bias), t[f"{at}.out"], atol=1e-5, rtol=1e-5)
    checks = found.manifest.checks
    of_attention = {"row_sum_err", "recompute_err", "wo_sum_err"} if found.manifest.model.stacks else set()
    assert set(checks) == {"incremental_err", *of_attention}
    assert all(0 <= error < 1e-5 for error in checks.values()), checks
    assert all(tensor.isfinite().all() for tensor in t.values())
    assert found.manifest.tensors.keys() == t.keys()


@each
def test_the_residual_stream_adds_up(variant: str) -> None:
    own = bundle(variant)
    t = capture(own, asked()).tensors
    for part, stack in (("encoder", own.model.encoder), ("decoder", own.model.decoder)):
        for i, block in enumerate(stack):
            at = f"{part}.{i}"
            steps: list[Any] = [("self_attn.out", "resid_pre", "resid_mid", block.self_norm)]
            if part == "decoder":
                steps.append(("cross_attn.out", "resid_mid", "resid_cross", block.cross_norm))
            for added, before, after, norm in steps:
                total = t[f"{at}.{before}"] + t[f"{at}.{added}"]
                expected = total if block.norm_at == "pre" else norm(total)
                torch.testing.assert_close(t[f"{at}.{after}"], expected)
            last = t[f"{at}.resid_cross" if part == "decoder" else f"{at}.resid_mid"]
            ffn: Any = block.ffn
            inner = ffn.down_proj(t[f"{at}.ffn.post"])
            expected = last + inner if block.norm_at == "pre" else block.ffn_norm(last + inner)
            torch.testing.assert_close(t[f"{at}.resid_post"], expected, atol=1e-5, rtol=1e-5)
            if i:
                assert torch.equal(t[f"{at}.resid_pre"], t[f"{part}.{i - 1}.resid_post"])
    for name, first in (("src_embed", "encoder"), ("tgt_embed", "decoder")):
        torch.testing.assert_close(t[f"{name}.tokens"] + t[f"{name}.position"], t[f"{name}.sum"])
        assert torch.equal(t[f"{name}.sum"], t[f"{first}.0.resid_pre"])
    logits = own.model.head(t["hidden"])
    best = torch.log_softmax(logits, dim=1).gather(1, t["logits.topk.id"].long())
    torch.testing.assert_close(best, t["logits.topk.lp"], atol=1e-5, rtol=1e-5)


@of_any_family
@pytest.mark.usefixtures("_without_the_library")
@pytest.mark.parametrize("beam", [1, 3, 5])
def test_the_chosen_translation_is_that_of_the_translator(variant: str, beam: int) -> None:
    own = bundle(variant)
    for text in ("bad cab", "a", "feed a bag cab"):
        found = capture(own, asked(src=text, beam=beam, method="greedy" if beam == 1 else "beam")).manifest
        [[best]] = Translator(own, precision="fp32").translate([text], beam=beam)
        chosen = found.decode.finished[found.decode.chosen]
        assert chosen.tokens == best.hypothesis.tokens and found.translation == best.text
        assert chosen.score == pytest.approx(best.score, abs=1e-5) and chosen.lp == pytest.approx(
            best.hypothesis.log_prob, abs=1e-5
        )


@pytest.mark.parametrize("beam", [1, 2, 4])
@pytest.mark.parametrize("seed", range(6))
def test_the_tree_of_a_search_hangs_together(beam: int, seed: int) -> None:
    decode = capture(bundle(seed=seed), asked(beam=beam)).manifest.decode
    nodes = decode.nodes
    assert [node.id for node in nodes] == list(range(len(nodes))) and nodes[0].parent == -1
    for node in nodes[1:]:
        parent = nodes[node.parent]
        assert node.t == parent.t + 1 and parent.state == "live"
        assert node.cum == pytest.approx(parent.cum + node.lp, abs=1e-5)
        assert (node.token == 2) or node.state != "finished"
    for step in decode.steps:
        assert len(step.live) <= beam and len({live.node for live in step.live}) == len(step.live)
        for live in step.live:
            assert nodes[live.node].t == step.t - 1 and nodes[live.node].state == "live"
            assert sum(math.exp(c.lp) for c in live.topk) + live.rest == pytest.approx(1.0, abs=1e-6)
            assert [c.lp for c in live.topk] == sorted((c.lp for c in live.topk), reverse=True)
        alive = [node for node in nodes if node.t == step.t - 1 and node.state == "live"]
        assert {live.node for live in step.live} == {node.id for node in alive}
    scores = [each.score for each in decode.finished]
    assert scores == sorted(scores, reverse=True) and decode.chosen == 0
    for each in decode.finished:
        path, node = [], each.node
        while node > 0:
            path.append(nodes[node].token)
            node = nodes[node].parent
        assert [token for token in reversed(path) if token != 2] == each.tokens


def test_a_forced_beginning_is_kept_and_the_rest_is_searched_for() -> None:
    own = bundle()
    free = capture(own, asked()).manifest.decode
    other = next(c.id for c in free.steps[0].live[0].topk if c.id > 3 and c.id not in free.finished[0].tokens[:1])
    found = capture(own, asked(prefix=(other,)))
    assert found.manifest.decode.finished[0].tokens[0] == other
    assert found.manifest.request["decode"]["prefix"] == [other]
    assert found.manifest.tgt.tokens[1].id == other


@pytest.mark.usefixtures("_without_the_library")
def test_a_given_translation_is_taken_as_it_is() -> None:
    own = bundle()
    found = capture(own, asked(tgt="feed")).manifest
    assert found.decode.method == "forced" and found.translation == "feed"
    assert "".join(token.text for token in found.labels[:-1]).strip() == "feed" and found.labels[-1].piece == "</s>"
    [scored] = Translator(own, precision="fp32").score(["bad cab"], ["feed"])
    assert found.decode.finished[0].lp == pytest.approx(scored.log_prob, abs=1e-4)
    assert [node.state for node in found.decode.nodes] == ["live"] * len(found.labels) + ["finished"]


def test_a_translation_cut_off_at_its_limit_says_so() -> None:
    own = bundle(max_len_ratio=0.0, max_len_extra=2, min_len=2)
    found = capture(own, asked(beam=1)).manifest
    assert [warning["code"] for warning in found.warnings] == ["unfinished"]
    assert len(found.tgt.tokens) == len(found.labels) == 3 and found.labels[-1].piece != "</s>"


def test_models_with_tags_name_the_target_language() -> None:
    own = bundle(tags=("zh", "en"))
    found = capture(own, asked(to="zh")).manifest
    first = found.src.tokens[0]
    assert first.piece == "<2zh>" and first.special and first.word == -1 and first.chars is None
    assert (found.src.lang, found.tgt.lang) == ("en", "zh")
    with pytest.raises(CaptureError, match="to zh, en, not to 'fr'") as error:
        capture(own, asked(to="fr"))
    assert error.value.code == "unknown_language" and error.value.values["to"] == "fr"


def test_tokens_know_their_words_and_their_place_in_the_text() -> None:
    src = capture(bundle(), asked(src="bad  cab")).manifest.src
    assert src.text == "bad cab" and src.words == ["bad", "cab"]
    letters = [token for token in src.tokens if token.text.strip()]
    assert "".join(token.text for token in letters) == "badcab" and [token.word for token in letters] == [
        0,
        0,
        0,
        1,
        1,
        1,
    ]
    assert all(src.text[slice(*token.chars)] == token.text for token in letters if token.chars)
    assert src.tokens[-1].piece == "</s>" and src.tokens[-1].word == -1


def test_bytes_of_one_character_are_shown_as_that_character() -> None:
    own = bundle(kind="byte")
    src = capture(own, asked(src="a 你", tgt="好a")).manifest.src
    assert [(token.text, token.partial) for token in src.tokens[:-1]] == [("a", False), (" ", False)] + 3 * [
        ("你", True)
    ]
    assert src.words == ["a", "你"] and [token.word for token in src.tokens[2:5]] == [1, 1, 1]
    given = capture(own, asked(tgt="好a")).manifest
    assert given.tgt.words == ["好", "a"] and [token.partial for token in given.labels] == [True] * 3 + [False] * 2


def test_a_piece_that_is_not_in_the_vocabulary_is_special_and_warned_of() -> None:
    found = capture(bundle(), asked(src="ba☃d")).manifest
    unknown = next(token for token in found.src.tokens if token.piece == "<unk>")
    assert unknown.special and unknown.word == -1 and unknown.text == "" and unknown.chars == (2, 3)
    assert {"code": "unknown_pieces", "args": {"count": 1}} in found.warnings


HOSTILE = [
    "</script><script>window.P=1</script>",
    "<img src=x onerror=alert(1)>",
    "\u202eabc\u202c",
    "👩‍👩‍👧",
    "=1+1",
    "a\x00b\x07",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["char", "byte"])
def test_text_of_any_kind_is_captured(text: str, kind: str) -> None:
    found = capture(bundle(kind=kind, max_len_extra=0, max_len_ratio=0.2), asked(src=text)).manifest
    assert found.request["src"] == text and found.src.tokens


REFUSED = {
    "src_empty": {"src": "  "},
    "tgt_empty": {"tgt": " \n"},
    "src_too_long": {"src": "ab " * 30},
    "tgt_too_long": {"tgt": "ab " * 30},
    "beam_out_of_range": {"beam": BEAM + 1},
    "unknown_token": {"prefix": (99,)},
    "prefix_with_tgt": {"prefix": (5,), "tgt": "a"},
    "not_unicode": {"src": "a\ud800"},
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_cannot_be_done_is_refused_with_a_code(code: str) -> None:
    with pytest.raises(CaptureError) as error:
        capture(bundle(), asked(**REFUSED[code]))
    assert error.value.code == code and str(error.value)


@pytest.mark.parametrize("token", [0, 1, 2, -1, 16])
def test_padding_begin_end_and_what_is_no_token_cannot_be_forced(token: int) -> None:
    with pytest.raises(CaptureError) as error:
        capture(bundle(), asked(prefix=(token,)))
    assert error.value.code == "unknown_token"


def test_more_than_the_most_characters_are_not_even_cut_into_tokens() -> None:
    with pytest.raises(CaptureError) as error:
        capture(bundle(), asked(src="a" * 20_001))
    assert error.value.code == "text_too_long" and SRC_TOKENS == 512


@pytest.mark.parametrize("more", [{}, {"method": "greedy"}, {"tgt": "feed"}])
@pytest.mark.parametrize("at", [1, 3])
def test_a_capture_can_be_stopped_at_any_step(more: dict[str, str], at: int) -> None:
    calls = []

    def interrupted() -> bool:
        calls.append(1)
        return len(calls) == at

    with pytest.raises(CaptureError) as error:
        capture(bundle(), asked(**more), interrupted=interrupted)
    assert error.value.code == "interrupted" and len(calls) == at


def test_the_same_request_has_the_same_id_and_another_has_another() -> None:
    own = bundle()
    sha = weights_sha256(own.model)
    ids = {
        asked().id(own, sha),
        asked(length_penalty=own.config.decoding.length_penalty).id(own, sha),
        capture(own, asked()).manifest.id,
    }
    assert len(ids) == 1 and len(ids.pop()) == 16
    others = [
        asked(src="a"),
        asked(beam=4),
        asked(tgt="a"),
        asked(method="greedy"),
        asked(prefix=(5,)),
        asked(length_penalty=2.0),
    ]
    assert len({each.id(own, sha) for each in [asked(), *others]}) == 7
    with torch.no_grad():
        own.model.head.weight[0, 0] += 1
    assert weights_sha256(own.model) != sha


def test_settings_of_the_search_that_cannot_be_shown_are_said() -> None:
    own = bundle(beam=4, beam_groups=2, sample=True)
    found = capture(own, asked(beam=4)).manifest
    assert [warning["args"]["name"] for warning in found.warnings if warning["code"] == "setting_left_out"] == [
        "sample",
        "beam_groups",
    ]


@pytest.mark.usefixtures("_without_the_library")
def test_coverage_and_repeats_are_minded_as_by_the_translator() -> None:
    own = bundle(coverage_penalty=0.3, no_repeat_ngram=2)
    found = capture(own, asked()).manifest
    [[best]] = Translator(own, precision="fp32").translate(["bad cab"], beam=3)
    assert found.translation == best.text


def test_the_model_is_described_as_it_is() -> None:
    own = bundle("grouped")
    info = capture(own, asked()).manifest.model
    assert info.parameters == sum(p.numel() for p in own.model.parameters()) == sum(info.parameters_by_part.values())
    assert [stack.kv_heads for stack in info.stacks] == [[2], [2, 2], [2, 2]] and info.core == {
        "kind": "dot",
        "scale": 0.5,
    }
    assert capture(bundle("core cosine"), asked()).manifest.model.core == {"kind": "cosine", "scale": None}
    rms = capture(bundle("norm rms"), asked()).manifest.model
    assert rms.norm == "rms" and rms.eps == torch.finfo(torch.float32).eps
    assert capture(bundle("untied"), asked()).manifest.model.tied == {"src_tgt": False, "out": False}
    assert (
        isinstance(own.model, EncoderDecoder)
        and replace(info, name="n").name == "n"
        and asdict(info)["norm_at"] == "pre"
    )


@pytest.mark.parametrize("variant", RECURRENT)
def test_states_of_a_recurrent_model_are_those_that_its_layers_hand_on(variant: str) -> None:
    own = bundle(variant)
    found = capture(own, asked(tgt="feed a bag"))
    t, info, model = found.tensors, found.manifest.model, own.model
    n, m = len(found.manifest.src.tokens), len(found.manifest.tgt.tokens)
    for i, layer in enumerate(model.encoder):
        sides = ["forwards"] + (["backwards"] if layer.backwards is not None else [])
        assert [t[f"encoder.{i}.{side}"].shape for side in sides] == [(n, info.d_state)] * len(sides)
        out = torch.cat([t[f"encoder.{i}.{side}"] for side in sides], dim=1)
        before = t[f"encoder.{i - 1}.out"] if i and model.encoder.residual else torch.zeros_like(out)
        torch.testing.assert_close(t[f"encoder.{i}.out"], out + before)
    assert torch.equal(t["memory"], t[f"encoder.{info.encoder_layers - 1}.out"])
    for i, layer in enumerate(model.decoder):
        states = t[f"decoder.{i}.states"]
        assert states.shape == (m, info.d_state)
        if hasattr(layer, "join"):
            told = torch.tanh(layer.join(torch.cat((states, t[f"decoder.{i}.cross_attn.out"]), dim=1)))
            torch.testing.assert_close(t[f"decoder.{i}.out"], told)
            asks = t[f"decoder.{i}.cross_attn.x"]
            by_heads = layer.cross_attn.q_proj(asks).unflatten(1, (layer.cross_attn.n_heads, -1)).transpose(0, 1)
            torch.testing.assert_close(by_heads, t[f"decoder.{i}.cross_attn.q"])
            same = {"before": asks[1:] == states[:-1], "after": asks == states}.get(layer.attend)
            assert same is None or same.all()
            assert f"decoder.{i}.cross_attn.values" not in t
    assert found.manifest.tensors["encoder.0.forwards"].axes == ["token", "d_state"]


def test_a_recurrent_model_is_described_by_what_it_has() -> None:
    info = capture(bundle("recurrent after"), asked()).manifest.model
    said = (info.family, info.cell, info.d_state, info.bidirectional, info.bridge, info.attend, info.input_feeding)
    assert said == ("recurrent", "lstm", 12, True, "dense", "after", True)
    assert (info.d_ff, info.norm_at, info.norm, info.eps, info.activation, info.position) == (None,) * 6
    assert [(stack.name, stack.layers, stack.q, stack.k) for stack in info.stacks] == [
        ("decoder.cross_attn", 1, "tgt", "src")
    ]
    bare = capture(bundle("recurrent without attention"), asked()).manifest
    assert bare.model.stacks == [] and bare.heads == [] and bare.model.core == {"kind": "none", "scale": None}
    assert bare.model.attend is None and bare.model.input_feeding is None
    assert not any("_attn" in name for name in bare.tensors)
    transformer = capture(bundle(), asked()).manifest.model
    assert transformer.family == "encoder-decoder" and transformer.cell is None and transformer.d_ff == 20


@pytest.mark.parametrize("variant", CONVOLUTIONAL)
def test_values_of_a_convolutional_model_are_made_of_more_than_its_keys(variant: str) -> None:
    own = bundle(variant)
    found = capture(own, asked(tgt="feed a bag"))
    t, info = found.tensors, found.manifest.model
    assert info.family == "convolutional" and info.d_ff is None and info.cell is None
    assert info.kernel_size == CONVOLUTIONAL[variant].get("kernel_size", 3)
    assert [(stack.name, stack.layers) for stack in info.stacks] == [("decoder.cross_attn", info.decoder_layers)]
    growth = (0.5 * len(found.manifest.src.tokens)) ** 0.5
    for i, layer in enumerate(own.model.decoder):
        at = f"decoder.{i}.cross_attn"
        torch.testing.assert_close(t[f"{at}.values"], (t["memory"] + t["src_embed.sum"]) * growth)
        for name, source in (("q", t[f"{at}.x"]), ("k", t["memory"]), ("v", t[f"{at}.values"])):
            projected = getattr(layer.cross_attn, f"{name}_proj")(source)
            by_heads = projected.unflatten(1, (layer.cross_attn.n_heads, -1)).transpose(0, 1)
            torch.testing.assert_close(by_heads, t[f"{at}.{name}"], atol=1e-5, rtol=1e-5)
        assert t[f"decoder.{i}.out"].shape == t["hidden"].shape


def test_weights_of_a_core_are_not_taken_for_what_passes_through_it() -> None:
    own = bundle("core additive")
    found = capture(own, asked(), full=True)
    assert found.manifest.tensors["decoder.0.cross_attn.core.out"].axes == ["axis 0", "axis 1", "axis 2"]
    assert found.manifest.tensors["decoder.0.cross_attn.out"].axes == ["token", "d_model"]
