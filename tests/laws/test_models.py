"""What every model that the configuration can describe must obey."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from sightline.bundle import Bundle, BundleConfig, load_bundle, save_bundle
from sightline.data.batches import collate, collate_packed, pack
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import AnyModelConfig, ModelConfig, TransformerConfig
from sightline.models.layout import layout
from sightline.models.sequence_to_sequence import AnyModel, Packing
from sightline.nn.cores import CORES
from sightline.nn.feedforward import FEEDFORWARDS
from sightline.nn.norm import NORMS
from sightline.nn.position import POSITIONS
from sightline.nn.recurrent import CELLS
from sightline.tasks.translation import translation_loss
from sightline.training.working import WorkingCopy

SMALL = {"d_model": 16, "n_heads": 4, "d_ff": 32, "n_encoder_layers": 2, "n_decoder_layers": 3, "max_len": 32}
VARIANTS = {
    "paper": {},
    "pre": {"norm_at": "pre"},
    **{f"core {name}": {"attention": name} for name in CORES},
    **{f"position {name}": {"position": name} for name in POSITIONS},
    **{f"ffn {name}": {"feedforward": name} for name in FEEDFORWARDS},
    **{f"norm {name}": {"norm": name} for name in NORMS},
    "grouped": {"n_kv_heads": 2, "position": "rotary", "norm_at": "pre"},
    "multi-query": {"n_kv_heads": 1},
    "single head": {"n_heads": 1},
    "untied": {"tie_embeddings": False, "share_embeddings": False},
    "shared, not tied": {"tie_embeddings": False},
    "tied, not shared": {"share_embeddings": False},
    "normal first weights": {"init_std": 0.02},
    "no bias": {"bias": False},
}
RECURRENT = {
    "gru": {},
    "elman": {"cell": "elman"},
    "lstm": {"cell": "lstm"},
    "without attention": {"attention": "none"},
    "lstm without attention": {"cell": "lstm", "attention": "none", "bidirectional": False},
    **{f"recurrent core {name}": {"attention": name} for name in CORES},
    "heads": {"n_heads": 4},
    "fed": {"attend": "after"},
    "between": {"attend": "between"},
    "between lstm": {"attend": "between", "cell": "lstm", "n_decoder_layers": 2, "d_state": 24},
    "after": {"attend": "after", "input_feeding": False, "attention": "general"},
    "deep": {"n_encoder_layers": 2, "n_decoder_layers": 3, "residual": True},
    "deep lstm": {"n_encoder_layers": 2, "n_decoder_layers": 2, "cell": "lstm", "attend": "after"},
    "wide": {"d_state": 24},
    "one direction": {"bidirectional": False},
    "copied": {"bidirectional": False, "bridge": "copy", "n_encoder_layers": 2, "n_decoder_layers": 2, "cell": "lstm"},
    "mean": {"bridge": "mean"},
    "zero": {"bridge": "zero"},
    **{f"{cell} norms": {"cell": cell, "layer_norm": True, "n_encoder_layers": 2} for cell in CELLS},
    "recurrent untied": {"tie_embeddings": False, "share_embeddings": False, "output_bias": True},
}
CONVOLUTIONAL = {
    "convolutions": {},
    "wider kernel": {"kernel_size": 5},
    **{f"convolutional core {name}": {"attention": name} for name in CORES},
    "convolutional heads": {"n_heads": 4, "attention": "dot"},
    "no positions": {"position": "none"},
    "no weight norm": {"weight_norm": False},
    "convolutional no bias": {"bias": False},
    "convolutional untied": {"tie_embeddings": False, "share_embeddings": False, "output_bias": True},
}
BASES: list[tuple[dict[str, dict[str, Any]], dict[str, Any]]] = [
    (VARIANTS, SMALL),
    (RECURRENT, {"kind": "recurrent", "d_model": 16, "max_len": 32}),
    (
        CONVOLUTIONAL,
        {"kind": "convolutional", "d_model": 16, "n_encoder_layers": 2, "n_decoder_layers": 3, "max_len": 32},
    ),
]
SETTINGS = {name: {**base, **variant} for variants, base in BASES for name, variant in variants.items()}
each = pytest.mark.parametrize(
    "variant",
    [  # every core is tried in a Transformer each time, in the others by `make test-all`
        pytest.param(name, marks=pytest.mark.slow if name.startswith(("recurrent core", "convolutional core")) else ())
        for name in SETTINGS
    ],
)
transformers = pytest.mark.parametrize("variant", VARIANTS)
VOCAB = 23


def configured(variant: str, **more: object) -> ModelConfig:
    return TypeAdapter(AnyModelConfig).validate_python({**SETTINGS[variant], **more})


def make(variant: str, **more: object) -> AnyModel:
    torch.manual_seed(7)
    return build_model(configured(variant, **more), VOCAB, VOCAB).eval()


def batch(b: int = 3, s: int = 6, t: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    src = torch.randint(4, VOCAB, (b, s), generator=generator)
    tgt = torch.randint(4, VOCAB, (b, t), generator=generator)
    src[1, 4:] = 0
    tgt[:, 0] = 1
    return src, tgt


@each
def test_steps_equal_forward(variant: str) -> None:
    model = make(variant)
    src, tgt = batch()
    with torch.inference_mode():
        whole = model(src, tgt)
        state = model.start(src)
        steps = torch.stack([model.step(tgt[:, i], state) for i in range(tgt.shape[1])], dim=1)
    torch.testing.assert_close(steps, whole, atol=1e-5, rtol=1e-5)


@each
def test_a_reordered_state_continues_as_the_rows_it_was_made_of(variant: str) -> None:
    model = make(variant)
    src, tgt = batch()
    index = torch.tensor([2, 0, 0, 1])
    with torch.inference_mode():
        state = model.start(src)
        model.step(tgt[:, 0], state)
        state.reorder(index)
        model.step(tgt[index, 1], state)
        state.reorder(torch.tensor([3, 1]))
        step = model.step(tgt[index[[3, 1]], 2], state)
        whole = model(src, tgt)[index[[3, 1]], 2]
    torch.testing.assert_close(step, whole, atol=1e-5, rtol=1e-5)


@each
def test_padding_of_the_source_is_invisible(variant: str) -> None:
    model = make(variant)
    src, tgt = batch()
    with torch.inference_mode():
        torch.testing.assert_close(model(src[1:2], tgt[1:2]), model(src[1:2, :4], tgt[1:2]), atol=1e-5, rtol=1e-5)


@each
def test_the_decoder_sees_no_future(variant: str) -> None:
    model = make(variant)
    src, tgt = batch()
    with torch.inference_mode():
        before = model(src, tgt)
        tgt[:, 3:] = 9
        torch.testing.assert_close(model(src, tgt)[:, :3], before[:, :3], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "variant",
    [  # hundreds of steps: of the others a few, and all by `make test-all`
        pytest.param(
            name,
            marks=() if name in (*VARIANTS, "gru", "after", "without attention", "convolutions") else pytest.mark.slow,
        )
        for name in SETTINGS
    ],
)
def test_overfits_eight_examples(variant: str) -> None:
    model = make(variant, embedding_dropout=0.0, residual_dropout=0.0, n_encoder_layers=1, n_decoder_layers=1).train()
    generator = torch.Generator().manual_seed(2)
    src = torch.randint(4, VOCAB, (8, 6), generator=generator)
    tgt = torch.randint(4, VOCAB, (8, 5), generator=generator)
    shifted = torch.cat((torch.ones(8, 1, dtype=torch.long), tgt[:, :-1]), dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    least = math.inf
    for _ in range(80):
        loss = translation_loss(model, src, shifted, tgt) / tgt.numel()
        optimizer.zero_grad()
        loss.backward()
        if variant in CONVOLUTIONAL:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # as the trainer does; there are no norms
        optimizer.step()
        least = min(least, loss.item())
    assert least < 0.3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    text = ["abcdefghijklmnopqrs"] * 3
    return Tokenizer.train(TokenizerSettings(kind="char", vocab_size=VOCAB), text, text)


@each
def test_survives_saving_and_loading_as_a_bundle(variant: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert tokenizer.src_vocab_size == tokenizer.tgt_vocab_size == VOCAB
    model = make(variant)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.0, 0.1)
    config = BundleConfig.model_validate({"name": "a", "task": "translation", "model": SETTINGS[variant]})
    save_bundle(tmp_path / "bundle", Bundle(config, model, tokenizer, "card"))
    other = load_bundle(tmp_path / "bundle").model
    src, tgt = batch()
    with torch.inference_mode():
        assert torch.equal(model(src, tgt), other.eval()(src, tgt))


@transformers
def test_its_tensors_are_known_without_its_modules(variant: str) -> None:
    for more in ({}, {"output_bias": True, "n_decoder_layers": 1}):
        found = layout(TransformerConfig.model_validate({**SMALL, **VARIANTS[variant], **more}), VOCAB, VOCAB)
        parameters = make(variant, **more).named_parameters()
        assert found is None or list(found.items()) == [(name, tuple(p.shape)) for name, p in parameters]
        assert found is not None or VARIANTS[variant].keys() == {"attention"}


def test_where_only_the_modules_can_tell_they_are_asked() -> None:
    for settings in ({"attention": "some.module:Core"}, {"attention": {"kind": "cosine", "length": 9}}, {"n_heads": 3}):
        assert layout(TransformerConfig.model_validate({**SMALL, **settings}), VOCAB, VOCAB) is None
    assert layout(TransformerConfig.model_validate(SMALL), VOCAB, VOCAB + 1) is None
    assert (
        layout(TransformerConfig.model_validate({**SMALL, "d_model": 12, "position": "rotary"}), VOCAB, VOCAB) is None
    )
    assert layout(TransformerConfig.model_validate({**SMALL, "attention": {"kind": "dot"}}), VOCAB, VOCAB) is not None


def test_names_are_golden() -> None:
    names = [name for name, _ in make("paper").named_parameters()]
    parts = ["q_proj", "k_proj", "v_proj", "o_proj"]
    ends = ["weight", "bias"]

    def block(at: str, cross: bool) -> list[str]:
        found = [f"{at}.self_norm.{e}" for e in ends]
        found += [f"{at}.self_attn.{p}.{e}" for p, e in itertools.product(parts, ends)]
        if cross:
            found += [f"{at}.cross_norm.{e}" for e in ends]
            found += [f"{at}.cross_attn.{p}.{e}" for p, e in itertools.product(parts, ends)]
        found += [f"{at}.ffn_norm.{e}" for e in ends]
        return found + [f"{at}.ffn.{p}.{e}" for p, e in itertools.product(["up_proj", "down_proj"], ends)]

    expected = ["src_embed.tokens.weight"]
    expected += [n for i in range(2) for n in block(f"encoder.{i}", False)]
    expected += [n for i in range(3) for n in block(f"decoder.{i}", True)]
    assert sorted(names) == sorted(expected)


FINAL_NORMS = [f"{stack}.norm.{end}" for stack in ("encoder", "decoder") for end in ("weight", "bias")]
SELF = [*(f"encoder.{i}" for i in range(2)), *(f"decoder.{i}" for i in range(3))]
CROSS = [f"decoder.{i}" for i in range(3)]


def of_cores(*names: str) -> list[str]:
    places = [*(f"{at}.self_attn" for at in SELF), *(f"{at}.cross_attn" for at in CROSS)]
    return [f"{place}.core.{name}" for place in places for name in names]


CHANGED_NAMES: dict[str, tuple[list[str], str]] = {
    "pre": (FINAL_NORMS, "none"),
    "grouped": (FINAL_NORMS, "none"),
    "core cosine": (of_cores("log_sharpness"), "none"),
    "core general": (of_cores("form"), "none"),
    "core additive": (of_cores("out"), "none"),
    "core concat": (of_cores("of_both", "out"), "none"),
    "core location": (of_cores("places"), "none"),
    "core local": (of_cores("score.form"), "none"),
    "core hard": (of_cores("score.out"), "none"),
    "position learned": (["src_embed.position.weight", "tgt_embed.position.weight"], "none"),
    "ffn swiglu": ([f"{at}.ffn.gate_proj.weight" for at in SELF], r"\.ffn\..*\.bias$"),
    "norm rms": ([], r"_norm\.bias$"),
    "untied": (["head.weight", "tgt_embed.tokens.weight"], "none"),
    "shared, not tied": (["head.weight"], "none"),
    "tied, not shared": (["tgt_embed.tokens.weight"], "none"),
    "no bias": ([], r"_attn\..*\.bias$"),
}
"""What a variant has that the paper's model has not, and which of the paper's it lacks."""


@transformers
def test_names_of_every_variant_are_golden(variant: str) -> None:
    added, lacking = CHANGED_NAMES.get(variant, ([], "none"))
    papers = [name for name, _ in make("paper").named_parameters()]
    names = [name for name, _ in make(variant).named_parameters()]
    assert sorted(names) == sorted([*(name for name in papers if not re.search(lacking, name)), *added])


@pytest.mark.parametrize("variant", ["gru", "copied", "without attention"])
def test_names_of_recurrent_models_are_golden(variant: str) -> None:
    cell = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    projections = [f"{p}.{e}" for p in ("q_proj", "k_proj", "v_proj", "o_proj") for e in ("weight", "bias")]
    attentive = [f"cross_attn.{name}" for name in (*projections, "core.out")] + ["join.weight", "join.bias"]
    decoder = [f"decoder.0.{name}" for name in (*(f"cell.{c}" for c in cell), *attentive)]
    both = [f"encoder.0.{side}.{c}" for side in ("forwards", "backwards") for c in cell]
    bridge = ["bridge.proj.weight", "bridge.proj.bias"]
    one = [f"encoder.{i}.forwards.{c}" for i in range(2) for c in cell]
    expected = {
        "gru": [*both, *decoder, *bridge],
        "copied": [*one, *decoder, *(f"decoder.1.cell.{c}" for c in cell)],
        "without attention": [*both, *(f"decoder.0.cell.{c}" for c in cell), *bridge],
    }
    names = [name for name, _ in make(variant).named_parameters()]
    assert sorted(names) == sorted(["src_embed.tokens.weight", *expected[variant]])


@pytest.mark.parametrize("variant", ["convolutions", "no weight norm", "no positions"])
def test_names_of_convolutional_models_are_golden(variant: str) -> None:
    conv = ["weight", "bias", *([] if variant == "no weight norm" else ["length"])]
    ends = [f"{proj}.{e}" for proj in ("in_proj", "out_proj") for e in ("weight", "bias")]
    parts = [f"cross_attn.{p}.{e}" for p in ("q_proj", "k_proj", "v_proj", "o_proj") for e in ("weight", "bias")]
    expected = ["src_embed.tokens.weight", *(f"{side}.{end}" for side in ("encoder", "decoder") for end in ends)]
    expected += [f"encoder.{i}.conv.{name}" for i in range(2) for name in conv]
    expected += [f"decoder.{i}.{name}" for i in range(3) for name in (*(f"conv.{each}" for each in conv), *parts)]
    if variant != "no positions":
        expected += ["src_embed.position.weight", "tgt_embed.position.weight"]
    assert sorted(name for name, _ in make(variant).named_parameters()) == sorted(expected)


def test_base_and_big_have_the_published_number_of_parameters() -> None:
    """Table 3 of the paper: 65 and 213 million, with a joint vocabulary of 37,000."""
    with torch.device("meta"):
        base = build_model(TransformerConfig(), 37_000, 37_000)
        big = build_model(TransformerConfig(d_model=1024, n_heads=16, d_ff=4096, residual_dropout=0.3), 37_000, 37_000)
    millions = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (base, big)]
    assert abs(millions[0] - 63) < 2.5 and abs(millions[1] - 214) < 4


@pytest.mark.parametrize("half", ["bf16", "fp16"])
@each
def test_the_gradient_of_a_working_copy_in_half_a_format_is_near_that_in_float32(variant: str, half: str) -> None:
    model = make(variant)
    src, tgt = batch(b=16)
    losses, gradients = {}, {}
    for precision in ("fp32", half):
        working = WorkingCopy(model, precision)
        model.zero_grad()
        loss = translation_loss(working.model, src, tgt, tgt, 0.1)
        loss.backward()
        working.hand_over()
        losses[precision] = loss.item()
        gradients[precision] = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        assert all(p.dtype == torch.float32 for p in model.parameters())
    hard = "core hard" in variant  # where two scores are near each other it looks elsewhere
    assert losses[half] == pytest.approx(losses["fp32"], rel=0.03 if hard else 0.01)
    asked = {name for name, _ in model.named_parameters() if "core location" not in variant or ".k_proj." not in name}
    assert gradients["fp32"].keys() == gradients[half].keys() == asked  # attention by place does not look at keys
    exact, low = (torch.cat([g.flatten() for g in gradients[p].values()]) for p in ("fp32", half))
    coarse = "core cosine" in variant or "norms" in variant  # scores sharpened tenfold; small cells, normalised
    near = 0.9 if hard else 0.95 if coarse else 0.99
    assert torch.nn.functional.cosine_similarity(exact, low, dim=0) > near and not torch.equal(exact, low)
    assert (0.9 if coarse else 0.95) < low.norm() / exact.norm() < (1.2 if hard else 1.05)


@transformers
def test_sentences_packed_into_rows_give_the_gradient_of_padded_ones(variant: str) -> None:
    model = make(variant)
    numbers = np.random.default_rng(3)
    pairs = [[numbers.integers(4, VOCAB, n).tolist() for n in numbers.integers(1, 12, 2)] for _ in range(30)]
    (rows,) = pack(((i, (src, tgt)) for i, (src, tgt) in enumerate(pairs)), rows=9, width=32)
    packed = collate_packed(rows, 32, 0, 1)
    padded = collate([(src, tgt) for src, tgt in pairs], packed.index, 0, 1)
    assert packed.n_tgt == padded.n_tgt and packed.segments is not None
    found = []
    for one, packing in ((packed, Packing(*packed.segments)), (padded, None)):
        model.zero_grad()
        loss = translation_loss(model, one.src, one.tgt_in, one.tgt_out, 0.1, real=one.real, packing=packing)
        (loss / one.n_tgt).backward()
        found.append((loss.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def test_in_bf16_no_weight_gets_a_gradient_that_is_too_small() -> None:
    """As those of norms were, which were summed up in bf16 over all tokens."""
    torch.manual_seed(0)
    config = {**SMALL, "d_model": 32, "residual_dropout": 0.0, "embedding_dropout": 0.0}
    model = build_model(TransformerConfig.model_validate(config), 50, 50)
    src, tgt = (torch.randint(4, 50, (256, 12)) for _ in range(2))
    gradients = []
    for precision in ("fp32", "bf16"):
        working = WorkingCopy(model, precision)
        model.zero_grad()
        (translation_loss(working.model, src, tgt, tgt, 0.1) / 1000).backward()
        working.hand_over()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for name, exact in gradients[0].items():
        if "k_proj.bias" not in name:  # which is zero, for it moves all scores of a query alike
            share = (gradients[1][name] * exact).sum() / (exact * exact).sum()
            assert share == pytest.approx(1.0, abs=0.03), name
