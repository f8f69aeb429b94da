"""The workbook computes, by its own formulas, what the model computed."""

import io
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from openpyxl import load_workbook
from openpyxl.utils import range_boundaries

from sightline.bundle import Bundle, BundleConfig
from sightline.data.tokenizers import Tokenizer, TokenizerSettings
from sightline.decoding.settings import DecodingSettings
from sightline.errors import ConfigError
from sightline.inspection.capture import Capture, Request, capture
from sightline.models.build import build_model
from sightline.models.config import RecurrentConfig, TransformerConfig
from sightline.serve.sheet import workbook

VARIANTS = {
    "paper": {},
    "pre": {"norm_at": "pre", "bias": False},
    "rotary, grouped": {"position": "rotary", "n_kv_heads": 1, "norm_at": "pre"},
    "cosine": {"attention": "cosine"},
    "plain dot": {"attention": "plain-dot"},
}
STACKS = ["encoder.self_attn", "decoder.self_attn", "decoder.cross_attn"]
TOKEN = re.compile(
    r"(?P<range>(?:(?:'[^']+'|[A-Za-z_]+)!)?\$?[A-Z]{1,3}\$?\d+:\$?[A-Z]{1,3}\$?\d+)"
    r"|(?P<cell>(?:(?:'[^']+'|[A-Za-z_]+)!)?\$?[A-Z]{1,3}\$?\d+(?![\d(]))"
)
FUNCTIONS = {
    "SUMPRODUCT": lambda a, b: math.fsum(x * y for x, y in zip(a, b, strict=True)),
    "SUMSQ": lambda a: math.fsum(x * x for x in a),
    "SUM": math.fsum,
    "MAX": lambda *a: max(x for each in a for x in (each if isinstance(each, list) else [each])),
    "MIN": lambda *a: min(x for each in a for x in (each if isinstance(each, list) else [each])),
    "EXP": math.exp,
    "SQRT": math.sqrt,
    "COS": math.cos,
    "SIN": math.sin,
}


class Recalculated:
    """A spreadsheet program for the formulas that are written here."""

    def __init__(self, data: bytes) -> None:
        self.book = load_workbook(io.BytesIO(data))
        self.known: dict[tuple[str, str], Any] = {}

    def cell(self, sheet: str, at: str) -> Any:
        key = sheet, at
        if key not in self.known:
            found = self.book[sheet][at]
            self.known[key] = self.formula(sheet, found.value[1:]) if found.data_type == "f" else found.value
        return self.known[key]

    def formula(self, sheet: str, text: str) -> float:
        given: list[Any] = []

        def look_up(match: re.Match[str]) -> str:
            where, _, at = match[0].replace("$", "").rpartition("!")
            where = where.strip("'") or sheet
            if match["range"]:
                c1, r1, c2, r2 = range_boundaries(at)
                rows = self.book[where].iter_rows(min_row=r1, max_row=r2, min_col=c1, max_col=c2)
                given.append([self.cell(where, cell.coordinate) for row in rows for cell in row])
            else:
                given.append(self.cell(where, at))
            return f"given[{len(given) - 1}]"

        code = TOKEN.sub(look_up, text).replace("^", "**")
        return eval(code, {"given": given, **FUNCTIONS})

    def matrix(self, sheet: str) -> list[list[float]]:
        rows = self.book[sheet].iter_rows(min_row=2, min_col=2)
        return [[self.cell(sheet, cell.coordinate) for cell in row] for row in rows]


def captured(variant: str = "paper", text: str = "bad cab") -> tuple[Capture, Bundle]:
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=16), ["abcdef ab="] * 3, ["abcdef ab"] * 3)
    sizes = {"d_model": 8, "n_heads": 2, "d_ff": 8, "n_encoder_layers": 2, "n_decoder_layers": 1, "max_len": 200}
    config = TransformerConfig.model_validate({**sizes, **VARIANTS[variant]})
    torch.manual_seed(6)
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    own = Bundle(
        BundleConfig(model=config, decoding=DecodingSettings(max_len_ratio=0, max_len_extra=4)), model, tokenizer, ""
    )
    return capture(own, Request("m", text, beam=2)), own


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stack", STACKS)
def test_recalculating_gives_the_numbers_of_the_model(variant: str, stack: str) -> None:
    found, own = captured(variant)
    for layer, head in ((0, 1), (1, 0)) if stack == "encoder.self_attn" else ((0, 1),):
        sheet = Recalculated(workbook(found, own, stack, layer, head))
        part, _, which = stack.partition(".")
        t = {name: found.tensors[f"{part}.{layer}.{which}.{name}"][head] for name in ("q", "k", "v", "weights", "z")}
        turned = variant.startswith("rotary") and which == "self_attn"
        for title, name in (
            ("Q turned" if turned else "Q", "q"),
            ("K turned" if turned else "K", "k"),
            ("V", "v"),
            ("Z", "z"),
        ):
            torch.testing.assert_close(torch.tensor(sheet.matrix(title)), t[name], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(torch.tensor(sheet.matrix("Softmax")), t["weights"], atol=1e-5, rtol=1e-5)
        assert 0 <= sheet.cell("Head", "B6") < 1e-5


@pytest.mark.parametrize("attention", ["dot", "plain-dot", "cosine"])
@pytest.mark.parametrize("attend", ["before", "after"])
def test_a_head_of_a_recurrent_model_is_recalculated_too(attention: str, attend: str) -> None:
    tokenizer = Tokenizer.train(TokenizerSettings(kind="char", vocab_size=18), ["abcdefgh ab"] * 3, ["abcdefgh ab"] * 3)
    config = RecurrentConfig.model_validate(
        {"d_model": 6, "d_state": 8, "n_heads": 2, "attention": attention, "attend": attend}
    )
    torch.manual_seed(6)
    model = build_model(config, tokenizer.src_vocab_size, tokenizer.tgt_vocab_size).eval()
    own = Bundle(BundleConfig(model=config), model, tokenizer, "")
    found = capture(own, Request("m", "bad cab", tgt="feed a"))
    sheet = Recalculated(workbook(found, own, "decoder.cross_attn", 0, 1))
    at = "decoder.0.cross_attn"
    for title, name in (("Q", "q"), ("K", "k"), ("V", "v"), ("Softmax", "weights"), ("Z", "z")):
        expected = found.tensors[f"{at}.{name}"][1]
        torch.testing.assert_close(torch.tensor(sheet.matrix(title)), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.tensor(sheet.matrix("X")), found.tensors[f"{at}.x"], atol=1e-6, rtol=1e-6)
    assert len(sheet.matrix("Memory")[0]) == 16 and len(sheet.matrix("X")[0]) == 8  # both directions; one state
    with pytest.raises(ConfigError, match=r"no stack 'encoder.self_attn': give decoder.cross_attn"):
        workbook(found, own, "encoder.self_attn", 0, 0)


def test_what_values_are_made_of_has_a_sheet_of_its_own_where_it_is_not_the_memory() -> None:
    found, own = captured()
    at = "decoder.0.cross_attn"
    attention = own.model.get_submodule(at)
    values = found.tensors["memory"] + 1.0
    v = attention.v_proj(values).detach().unflatten(1, (2, -1)).transpose(0, 1)  # pyright: ignore[reportCallIssue]
    z = found.tensors[f"{at}.weights"] @ v
    tensors = found.tensors | {f"{at}.values": values, f"{at}.v": v, f"{at}.z": z}
    sheet = Recalculated(workbook(replace(found, tensors=tensors), own, "decoder.cross_attn", 0, 1))
    torch.testing.assert_close(torch.tensor(sheet.matrix("V_input")), values)
    torch.testing.assert_close(torch.tensor(sheet.matrix("Z")), z[1], atol=1e-5, rtol=1e-5)
    assert sheet.cell("Head", "B6") < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("stack", STACKS)
def test_every_formula_stands_with_the_value_that_it_comes_to(variant: str, stack: str) -> None:
    """As a preview shows it, which computes nothing."""
    found, own = captured(variant)
    data = workbook(found, own, stack, 0, 1)
    sheet, formulas = Recalculated(data), 0
    for shown in load_workbook(io.BytesIO(data), data_only=True).worksheets:
        for row in sheet.book[shown.title].iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    value = shown[cell.coordinate].value
                    assert value == pytest.approx(sheet.cell(shown.title, cell.coordinate), rel=1e-9, abs=1e-12)
                    formulas += 1
    assert formulas > 100


def test_layers_heads_and_tokens_are_counted_from_one() -> None:
    found, own = captured()
    for lang, said in (("en", "Layer 2, head 1 of encoder.self_attn"), ("zh", "encoder.self_attn 第 2 层第 1 个头")):
        book = load_workbook(io.BytesIO(workbook(found, own, "encoder.self_attn", 1, 0, lang)))
        about = book.worksheets[0]["A1"].value
        assert isinstance(about, str) and about.startswith(said) and "encoder.1.self_attn" in about
        assert book["X"]["A2"].value == "1 ▁" and book["X"]["A3"].value == "2 b" and book["X"]["B1"].value == "1"


def test_every_derived_cell_is_a_formula_and_changing_a_number_changes_the_rest() -> None:
    found, own = captured()
    data = workbook(found, own, "decoder.self_attn", 0, 0)
    book = load_workbook(io.BytesIO(data))
    typed = {"X", "W_Q", "W_K", "W_V", "Mask", "Model"}
    for sheet in book.worksheets[1:]:
        kinds = {cell.data_type for row in sheet.iter_rows(min_row=2, min_col=2) for cell in row}
        assert kinds == ({"n"} if sheet.title in typed else {"f"}), sheet.title
    sheet = Recalculated(data)
    before = sheet.matrix("Z")
    other = Recalculated(data)
    other.book["X"]["B2"] = 5.0
    after = other.matrix("Z")
    assert before[0] != after[0] and other.cell("Head", "B6") > 1e-3
    assert all(sum(row) == pytest.approx(1.0) for row in other.matrix("Softmax"))
    weights = sheet.matrix("Softmax")
    assert all(weights[i][j] == 0 for i in range(len(weights)) for j in range(i + 1, len(weights)))


def test_a_token_that_begins_like_a_formula_is_text() -> None:
    found, own = captured(text="=ab")
    book = load_workbook(io.BytesIO(workbook(found, own, "encoder.self_attn", 0, 0, "zh")))
    assert book["注意力头"]["A3"].data_type == "s" and book["注意力头"]["A3"].value == "=ab"
    for sheet in book.worksheets[1:]:
        names = [
            *next(sheet.iter_rows(max_row=1, min_col=2)),
            *(row[0] for row in sheet.iter_rows(min_row=2, max_col=1)),
        ]
        assert all(cell.data_type == "s" for cell in names)


def test_what_has_no_workbook_is_said() -> None:
    found, own = captured()
    for place, message in (
        (("x", 0, 0), "no stack 'x'"),
        (("encoder.self_attn", 2, 0), "layers 1 to 2"),
        (("encoder.self_attn", 0, 2), "heads 1 to 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            workbook(found, own, *place)
    with pytest.raises(ConfigError, match="more than 64 tokens"):
        workbook(*captured(text="ab " * 40), "encoder.self_attn", 0, 0)
