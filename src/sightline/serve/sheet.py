"""One attention head as a workbook of live formulas: change a number, and the spreadsheet computes the rest."""

import io
import re
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet
    from torch import Tensor

    from sightline.bundle import Bundle
    from sightline.inspection.capture import Capture

TOKENS = 64
"""Tokens of a side, at most: a formula of the values names every key."""
TITLES = {
    "en": {
        "Head": "Head",
        "what": "Layer {layer}, head {head} (from 0) of {stack}. Grey rows and columns name tokens; change any number.",
        "check": "Largest difference between this workbook and the model:",
        "query": "query",
        "key": "key",
        "bias": "bias",
    },
    "zh": {
        "Head": "注意力头",
        "what": "{stack} 第 {layer} 层第 {head} 个头（从 0 数）。灰色行列是词元；任何数字都可以改。",
        "check": "本表与模型的最大误差：",
        "query": "查询",
        "key": "键",
        "bias": "偏置",
    },
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")


def workbook(capture: "Capture", bundle: "Bundle", stack: str, layer: int, head: int, lang: str = "en") -> bytes:
    """The head's X, W_Q, W_K, W_V, Q, K, V, scores, scaled and masked scores, softmax and Z, each computed from those before it.

    Raises ConfigError if there is no such head, a side has too many tokens, or the core is none with a formula.
    """
    from openpyxl import Workbook

    head_of = _Head(capture, bundle, stack, layer, head)
    book = Workbook()
    first = book.active
    assert first is not None
    words = TITLES[lang]
    first.title = words["Head"]
    first["A1"] = words["what"].format(stack=stack, layer=layer, head=head)
    first["A2"] = capture.manifest.src.text
    first["A3"] = capture.manifest.translation
    for cell in ("A2", "A3"):
        first[cell].value, first[cell].data_type = _plain(first[cell].value), "s"
    _Writer(book, head_of, words).write()
    first["A5"] = words["check"]
    last = f"{_column(head_of.d)}{len(head_of.queries) + 1}"
    first["B5"] = f"=MAX(MAX(Check!B2:{last}),-MIN(Check!B2:{last}))"
    first.column_dimensions["A"].width = 60
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


class _Head:
    """The numbers of a head: what is typed into the workbook, and what it must come to."""

    def __init__(self, capture: "Capture", bundle: "Bundle", stack: str, layer: int, head: int) -> None:
        import torch

        from sightline.nn.cores import Cosine, ScaledDotProduct

        manifest = capture.manifest
        known = {each.name: each for each in manifest.model.stacks}
        if stack not in known:
            raise ConfigError(f"There is no stack '{stack}': give {', '.join(known)}.")
        info = known[stack]  # pyright: ignore[reportArgumentType]
        if not (0 <= layer < info.layers and 0 <= head < info.heads[layer]):
            raise ConfigError(f"{stack} has layers 0 to {info.layers - 1} and heads 0 to {info.heads[0] - 1}.")
        sides = {"src": manifest.src.tokens, "tgt": manifest.tgt.tokens}
        self.queries, self.keys = sides[info.q], sides[info.k]
        if max(len(self.queries), len(self.keys)) > TOKENS:
            raise ConfigError(
                f"A side has more than {TOKENS} tokens, too many for a workbook: take a shorter sentence."
            )
        part, _, which = stack.partition(".")
        at = f"{part}.{layer}.{which}"
        block: Any = bundle.model.get_submodule(f"{part}.{layer}")
        attention: Any = getattr(block, which)
        core = attention.core
        if not isinstance(core, ScaledDotProduct | Cosine):
            raise ConfigError(f"{type(core).__name__} is a core of your own, of which the workbook knows no formula.")
        self.crossed, self.causal = info.q != info.k, info.causal
        self.d = attention.d_head
        tensors = capture.tensors
        with torch.no_grad():
            norm, before = block.self_norm, tensors[f"{part}.{layer}.resid_pre"]
            if self.crossed:
                norm, before = block.cross_norm, tensors[f"{part}.{layer}.resid_mid"]
            self.x = norm(before) if block.norm_at == "pre" else before
        self.memory = tensors["memory"] if self.crossed else self.x
        shared = head // (attention.n_heads // attention.n_kv_heads)
        self.w = {"Q": _rows(attention.q_proj, head, self.d)}
        self.w |= {
            name: _rows(each, shared, self.d) for name, each in (("K", attention.k_proj), ("V", attention.v_proj))
        }
        self.rotary = manifest.model.position == "rotary" and not self.crossed
        self.sharpness = float(core.log_sharpness[head].detach().exp()) if isinstance(core, Cosine) else None
        self.z = tensors[f"{at}.z"][head]


def _rows(projection: Any, head: int, d: int) -> "tuple[Tensor, Tensor | None]":
    """The rows of a projection's weight, and its biases, that make one head's vectors."""
    rows = slice(head * d, (head + 1) * d)
    bias = None if projection.bias is None else projection.bias.detach()[rows]
    return projection.weight.detach()[rows], bias


class _Writer:
    def __init__(self, book: Any, head: _Head, words: dict[str, str]) -> None:
        self.book, self.head, self.words = book, head, words
        self.queries = [_named(i, token.piece) for i, token in enumerate(head.queries)]
        self.keys = [_named(i, token.piece) for i, token in enumerate(head.keys)]

    def write(self) -> None:
        head, n, m = self.head, len(self.head.keys), len(self.head.queries)
        width = head.x.shape[1]
        dims, inner = [str(i) for i in range(width)], [str(i) for i in range(head.d)]
        self._sheet("X", self.queries, dims, lambda i, j: float(head.x[i, j]))
        if head.crossed:
            self._sheet("Memory", self.keys, dims, lambda i, j: float(head.memory[i, j]))
        from_x = {"Q": "X", "K": "Memory" if head.crossed else "X", "V": "Memory" if head.crossed else "X"}
        for name in ("Q", "K", "V"):
            weight, bias = head.w[name]
            sheet = self._sheet(
                f"W_{name}",
                inner,
                [*dims, self.words["bias"]],
                lambda i, j, w=weight, b=bias: float(w[i, j]) if j < width else 0.0 if b is None else float(b[i]),
            )
            sheet.freeze_panes = "B2"
        last, after = _column(width), _column(width + 1)
        for name in ("Q", "K", "V"):
            rows = self.queries if name == "Q" else self.keys
            source = from_x[name]
            self._sheet(
                name,
                rows,
                inner,
                lambda i, j, s=source, w=f"W_{name}": (
                    f"=SUMPRODUCT({s}!$B{i + 2}:${last}{i + 2},{w}!$B{j + 2}:${last}{j + 2})+{w}!${after}${j + 2}"
                ),
            )
        q, k = "Q", "K"
        if head.rotary:
            for name, rows in (("Q", self.queries), ("K", self.keys)):
                self._sheet(f"{name} turned", rows, inner, lambda i, j, s=name: _turned(s, i, j, head.d))
            q, k = "'Q turned'", "'K turned'"
        end = _column(head.d)

        def scores(i: int, j: int) -> str:
            rows = f"{q}!$B{i + 2}:${end}{i + 2}", f"{k}!$B{j + 2}:${end}{j + 2}"
            product = f"SUMPRODUCT({rows[0]},{rows[1]})"
            if head.sharpness is None:
                return f"={product}"
            return f"={product}/(SQRT(SUMSQ({rows[0]}))*SQRT(SUMSQ({rows[1]})))"

        self._sheet("Scores", self.queries, self.keys, scores)
        scale = f"/SQRT({head.d})" if head.sharpness is None else f"*{head.sharpness!r}"
        self._sheet("Scaled", self.queries, self.keys, lambda i, j: f"=Scores!{_column(j + 1)}{i + 2}{scale}")
        self._sheet("Mask", self.queries, self.keys, lambda i, j: -1e30 if head.causal and j > i else 0)
        self._sheet(
            "Masked", self.queries, self.keys, lambda i, j: "=Scaled!{0}{1}+Mask!{0}{1}".format(_column(j + 1), i + 2)
        )
        row_end = _column(n)
        self._sheet(
            "Exp",
            self.queries,
            self.keys,
            lambda i, j: f"=EXP(Masked!{_column(j + 1)}{i + 2}-MAX(Masked!$B{i + 2}:${row_end}{i + 2}))",
        )
        self._sheet(
            "Softmax",
            self.queries,
            self.keys,
            lambda i, j: f"=Exp!{_column(j + 1)}{i + 2}/SUM(Exp!$B{i + 2}:${row_end}{i + 2})",
        )
        self._sheet(
            "Z",
            self.queries,
            inner,
            lambda i, j: (
                "=" + "+".join(f"Softmax!{_column(key + 1)}{i + 2}*V!{_column(j + 1)}{key + 2}" for key in range(n))
            ),
        )
        self._sheet("Model", self.queries, inner, lambda i, j: float(head.z[i, j]))
        self._sheet("Check", self.queries, inner, lambda i, j: "=Z!{0}{1}-Model!{0}{1}".format(_column(j + 1), i + 2))
        assert m == head.z.shape[0]

    def _sheet(self, title: str, rows: list[str], columns: list[str], value: Any) -> "Worksheet":
        from openpyxl.styles import Font, PatternFill

        sheet = self.book.create_sheet(title)
        grey, bold = PatternFill("solid", fgColor="E6E8EC"), Font(bold=True)
        for j, name in enumerate(columns):
            _label(sheet.cell(1, j + 2), name, grey, bold)
        for i, name in enumerate(rows):
            _label(sheet.cell(i + 2, 1), name, grey, bold)
            for j in range(len(columns)):
                cell = sheet.cell(i + 2, j + 2, value(i, j))
                cell.number_format = "0.0000" if title != "Mask" else "0.0E+00;-0.0E+00;0"
        sheet.freeze_panes = "B2"
        return sheet


def _label(cell: Any, text: str, fill: Any, font: Any) -> None:
    """A name is text, also where it begins like a formula."""
    cell.value = _plain(text)
    cell.data_type, cell.fill, cell.font = "s", fill, font


def _named(place: int, piece: str) -> str:
    return f"{place} {piece}"


def _plain(text: str) -> str:
    """Without the signs that a workbook cannot hold."""
    return _CONTROL.sub("\ufffd", text)[:1000]


def _column(number: int) -> str:
    """The letters of the column after `number` others: 0 is A."""
    from openpyxl.utils import get_column_letter

    return get_column_letter(number + 1)


def _turned(sheet: str, i: int, j: int, d: int) -> str:
    """A number of a query or key turned by its position (Su et al. 2021): pairs (2r, 2r + 1), angle i / 10000^(2r / d)."""
    pair = j // 2
    even, odd = (f"{sheet}!{_column(2 * pair + k + 1)}{i + 2}" for k in (0, 1))
    angle = f"{i}/10000^({2 * pair}/{d})"
    if j % 2 == 0:
        return f"={even}*COS({angle})-{odd}*SIN({angle})"
    return f"={even}*SIN({angle})+{odd}*COS({angle})"
