"""The lines that are shown as a model's code are in the package, are what they are shown for, and run."""

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.models.build import build_model
from sightline.models.config import ConvolutionalConfig, RecurrentConfig, TransformerConfig
from sightline.nn.cores import AttentionCore, masked_softmax
from sightline.nn.mask import Mask
from sightline.serve import code
from sightline.serve.code import PACKAGE, code_of, lines_at

SMALL = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_encoder_layers": 1, "n_decoder_layers": 1, "max_len": 16}
MEANING = {
    "x": "self_attn",
    "q": "q_proj",
    "k": "k_proj",
    "v": "v_proj",
    "concat": "flatten",
    "out": "o_proj",
    "residual": "x, h",
    "norm": "norm(x)",
    "embed": "tokens(ids)",
    "softmax": "softmax",
    "z": "v",
}
PLACES = {
    "transformer": code.STEPS,
    "to memory": code.TO_MEMORY,
    "embedding": code.EMBEDDING,
    "recurrent": code.ASKING,
    "convolutional": code.CONVOLUTIONAL,
    "dot": code.DOT,
    "cosine": code.COSINE,
    "position": code.POSITIONS,
}
TABLES = [(table, step) for table, places in PLACES.items() for step in places]


def bundle(**model: object) -> Bundle:
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=14), ["abcdef"] * 3, ["abcdef"] * 3)
    families = {"recurrent": RecurrentConfig, "convolutional": ConvolutionalConfig}
    family = families.get(str(model.get("kind")), TransformerConfig)
    config = family.model_validate({**({"d_model": 8} if "kind" in model else SMALL), **model})
    return Bundle(BundleConfig(model=config), build_model(config, 10, 10).eval(), tokenizer, "")


@pytest.mark.parametrize(("table", "step"), TABLES)
def test_every_line_is_where_it_is_said_to_be(table: str, step: str) -> None:
    found = lines_at(PLACES[table][step])
    lines = (PACKAGE.parent / found["file"]).read_text(encoding="utf-8").splitlines()
    shown = lines[found["line"] - 1 : found["line"] - 1 + len(found["lines"])]
    assert [line.strip() for line in shown] == [line.strip() for line in found["lines"]] and all(found["lines"])


@pytest.mark.parametrize("step", MEANING)
def test_a_line_does_what_it_is_shown_for(step: str) -> None:
    assert MEANING[step] in "".join(code_of(bundle())[step]["lines"])


@pytest.mark.parametrize("attention", ["dot", "cosine"])
@pytest.mark.parametrize(
    "more",
    [
        {"position": "sinusoidal"},
        {"position": "rotary"},
        {"kind": "recurrent"},
        {"kind": "recurrent", "attend": "after"},
        {"kind": "recurrent", "attend": "between"},
        {"kind": "convolutional"},
    ],
)
def test_the_lines_are_those_that_run(attention: str, more: dict[str, str]) -> None:
    own = bundle(attention=attention, **more)
    shown = {(step["file"], step["line"] + i) for step in code_of(own).values() for i in range(len(step["lines"]))}
    ran: set[tuple[str, int]] = set()

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if not path.is_relative_to(PACKAGE):
            return None
        if event == "line":
            ran.add((str(path.relative_to(PACKAGE.parent)), frame.f_lineno))
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        with torch.inference_mode():
            own.model(torch.tensor([[4, 5, 2]]), torch.tensor([[1, 4, 5]]))
    finally:
        sys.settrace(before)
    assert shown <= ran, shown - ran


def test_a_core_of_ones_own_shows_its_own_lines() -> None:
    class Own(AttentionCore):
        def weights(self, q: torch.Tensor, k: torch.Tensor, mask: Mask) -> torch.Tensor:
            return masked_softmax(q @ k.mT, mask)

    own = bundle()
    for block in (*own.model.encoder, *own.model.decoder):
        block.self_attn.core = Own()
    steps = code_of(own)
    assert "masked_softmax(q @ k.mT, mask)" in "".join(steps["softmax"]["lines"])
    assert steps["softmax"]["file"] == "test_code.py" and steps["z"]["file"] == "sightline/nn/cores.py"


def test_a_recurrent_model_shows_what_it_has() -> None:
    steps = code_of(bundle(kind="recurrent"))
    assert steps["cross.x"]["file"] == "sightline/nn/recurrent.py" and "cross_attn(h, memory" in "".join(
        steps["cross.x"]["lines"]
    )
    assert (
        not {"x", "q", "residual", "norm"} & steps.keys() and {"cross.q", "cross.k", "out", "softmax"} <= steps.keys()
    )
    assert code_of(bundle(kind="recurrent", attention="none")).keys() == {"embed", "position"}


def test_a_line_that_is_gone_is_said() -> None:
    with pytest.raises(LookupError, match="no 'x = nothing'"):
        lines_at(("nn/block.py", "class Block", "x = nothing", 1))
    with pytest.raises(LookupError, match="no 'class Nothing'"):
        lines_at(("nn/block.py", "class Nothing", "x", 1))
