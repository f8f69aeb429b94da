"""One attention head as a workbook of live formulas: change a number, and the spreadsheet computes the rest.

Each formula stands with its value, so that the numbers are there too where nothing computes: in a preview, on a phone.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from sightline.errors import ConfigError
from sightline.inspection.pack import Array

if TYPE_CHECKING:
    from torch import Tensor

    from sightline.bundle import Bundle
    from sightline.inspection.capture import Capture

TOKENS = 64
"""Tokens of a side, at most: a formula of the values names every key."""
MASKED = -1e30
"""What the mask adds where a query must not look."""
TITLES = {
    "en": {
        "Head": "Head",
        "what": "Layer {layer}, head {head} of {stack}. Layers, heads, tokens and components are counted from 1; in the "
        "checkpoint, which counts from 0, this attention is {address}.",
        "how": "Grey rows and columns name tokens; change any number, and the rest is computed again.",
        "check": "Largest difference between this workbook and the model:",
        "bias": "bias",
    },
    "zh": {
        "Head": "注意力头",
        "what": "{stack} 第 {layer} 层第 {head} 个头。层、头、词元和分量都从 1 数；"
        "检查点从 0 数，其中这个注意力的地址是 {address}。",
        "how": "灰色的行和列是词元；任何数字都可以改，其余的会重新计算。",
        "check": "本表与模型的最大误差：",
        "bias": "偏置",
    },
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
Cells = Callable[[int, int], str]
"""The formula of a cell, by its row and column from 0."""


def workbook(capture: "Capture", bundle: "Bundle", stack: str, layer: int, head: int, lang: str = "en") -> bytes:
    """The head's X, W_Q, W_K, W_V, Q, K, V, scores, scaled and masked scores, softmax and Z, each computed from those before it.
    `layer` and `head` are counted from 0.

    Raises ConfigError if there is no such head, a side has too many tokens, or the core is none with a formula.
    """
    from xlsxwriter import Workbook

    numbers = _Head(capture, bundle, stack, layer, head)
    out = io.BytesIO()
    book = Workbook(out, {"in_memory": True, "nan_inf_to_errors": True})
    book.set_properties({"created": datetime.fromisoformat(capture.manifest.created)})
    words = TITLES[lang]
    first = book.add_worksheet(words["Head"])
    part, _, which = stack.partition(".")
    first.set_column(0, 0, 60)
    about = words["what"].format(stack=stack, layer=layer + 1, head=head + 1, address=f"{part}.{layer}.{which}")
    for row, text in enumerate((about, words["how"], capture.manifest.src.text, capture.manifest.translation)):
        first.write_string(row, 0, _plain(text))
    difference = _Writer(book, numbers, words).write()
    first.write_string(5, 0, words["check"])
    last = f"{_column(numbers.d)}{len(numbers.queries) + 1}"
    first.write_formula(5, 1, f"=MAX(MAX(Check!B2:{last}),-MIN(Check!B2:{last}))", None, _cached(difference))
    book.close()
    return out.getvalue()


class _Head:
    """The numbers of a head: what is typed into the workbook, and what it must come to."""

    def __init__(self, capture: "Capture", bundle: "Bundle", stack: str, layer: int, head: int) -> None:
        from sightline.nn.cores import Cosine, DotProduct, ScaledDotProduct

        manifest = capture.manifest
        known = {each.name: each for each in manifest.model.stacks}
        if stack not in known:
            raise ConfigError(f"There is no stack '{stack}': give {', '.join(known)}.")
        info = known[stack]  # pyright: ignore[reportArgumentType]
        if not (0 <= layer < info.layers and 0 <= head < info.heads[layer]):
            raise ConfigError(f"{stack} has layers 1 to {info.layers} and heads 1 to {info.heads[0]}.")
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
        if not isinstance(core, ScaledDotProduct | DotProduct | Cosine):
            raise ConfigError(
                f"{type(core).__name__} is an attention of which the workbook knows no formula, only of dot, plain-dot and "
                "cosine: give --out a file that ends in .html or .ttrace."
            )
        self.crossed, self.causal = info.q != info.k, info.causal
        self.d = attention.d_head
        tensors = capture.tensors
        self.x = _array(
            tensors[f"{at}.x"] if f"{at}.x" in tensors else _normed(block, tensors, part, layer, self.crossed)
        )
        self.memory = _array(tensors["memory"]) if self.crossed else self.x
        self.values = _array(tensors[f"{at}.values"]) if f"{at}.values" in tensors else self.memory
        shared = head // (attention.n_heads // attention.n_kv_heads)
        self.w = {"Q": _rows(attention.q_proj, head, self.d)}
        self.w |= {
            name: _rows(each, shared, self.d) for name, each in (("K", attention.k_proj), ("V", attention.v_proj))
        }
        self.rotary = manifest.model.position == "rotary" and not self.crossed
        self.cosine = isinstance(core, Cosine)
        self.scale, self.scaling = 1.0 / math.sqrt(self.d), f"/SQRT({self.d})"
        if isinstance(core, Cosine):
            self.scale = float(core.log_sharpness[head].detach().exp())
            self.scaling = f"*{self.scale!r}"
        elif isinstance(core, DotProduct):
            self.scale, self.scaling = 1.0, ""
        self.z = _array(tensors[f"{at}.z"][head])


def _normed(block: Any, tensors: "Mapping[str, Tensor]", part: str, layer: int, crossed: bool) -> "Tensor":
    """What goes into an attention of a Transformer: the residual stream, after the norm where that comes first."""
    import torch

    norm, before = (block.cross_norm, "resid_mid") if crossed else (block.self_norm, "resid_pre")
    x = tensors[f"{part}.{layer}.{before}"]
    with torch.no_grad():
        return norm(x) if block.norm_at == "pre" else x


def _array(tensor: Any) -> Array:
    """A tensor in double precision, in which spreadsheets compute."""
    return tensor.detach().cpu().double().numpy()


def _rows(projection: Any, head: int, d: int) -> Array:
    """The rows of a projection's weight that make one head's vectors, and in the last column their biases."""
    rows = slice(head * d, (head + 1) * d)
    weight = _array(projection.weight)[rows]
    bias = np.zeros(len(weight)) if projection.bias is None else _array(projection.bias)[rows]
    return np.column_stack((weight, bias))


class _Writer:
    def __init__(self, book: Any, head: _Head, words: dict[str, str]) -> None:
        self.book, self.head, self.words = book, head, words
        self.queries = [_named(i, token.piece) for i, token in enumerate(head.queries)]
        self.keys = [_named(i, token.piece) for i, token in enumerate(head.keys)]
        self.label = book.add_format({"bold": True, "bg_color": "#E6E8EC"})
        self.number = book.add_format({"num_format": "0.0000"})
        self.large = book.add_format({"num_format": "0.0E+00;-0.0E+00;0"})

    def write(self) -> float:
        """Write all sheets; the largest difference between their result and the model's."""
        head, n = self.head, len(self.head.keys)
        inner = _counted(head.d)
        sources = {"Q": ("X", head.x), "K": ("X", head.x), "V": ("X", head.x)}
        if head.crossed:
            sources |= {"K": ("Memory", head.memory), "V": ("Memory", head.memory)}
            if head.values is not head.memory:
                sources["V"] = "V_input", head.values
        for source, x in dict(sources.values()).items():
            self._sheet(source, self.queries if source == "X" else self.keys, _counted(x.shape[1]), x)
        for name, (_, x) in sources.items():
            self._sheet(f"W_{name}", inner, [*_counted(x.shape[1]), self.words["bias"]], head.w[name])
        found: dict[str, Array] = {}
        for name, (source, x) in sources.items():
            rows, width = self.queries if name == "Q" else self.keys, x.shape[1]
            last, after = _column(width), _column(width + 1)

            def product(i: int, j: int, s: str = source, w: str = f"W_{name}", last: str = last, b: str = after) -> str:
                return f"=SUMPRODUCT({s}!$B{i + 2}:${last}{i + 2},{w}!$B{j + 2}:${last}{j + 2})+{w}!${b}${j + 2}"

            found[name] = x @ head.w[name][:, :-1].T + head.w[name][:, -1]
            self._sheet(name, rows, inner, found[name], product)
        q, k = "Q", "K"
        if head.rotary:
            for name, rows in (("Q", self.queries), ("K", self.keys)):
                found[name] = _turned(found[name])
                self._sheet(f"{name} turned", rows, inner, found[name], lambda i, j, s=name: _turning(s, i, j, head.d))
            q, k = "'Q turned'", "'K turned'"
        end = _column(head.d)

        def of_scores(i: int, j: int) -> str:
            rows = f"{q}!$B{i + 2}:${end}{i + 2}", f"{k}!$B{j + 2}:${end}{j + 2}"
            product = f"SUMPRODUCT({rows[0]},{rows[1]})"
            if not head.cosine:
                return f"={product}"
            return f"={product}/(SQRT(SUMSQ({rows[0]}))*SQRT(SUMSQ({rows[1]})))"

        scores = found["Q"] @ found["K"].T
        if head.cosine:
            scores = scores / np.outer(*(np.sqrt((found[name] ** 2).sum(axis=1)) for name in ("Q", "K")))
        self._pairs("Scores", scores, of_scores)
        scaled = scores * head.scale
        self._pairs("Scaled", scaled, lambda i, j: f"=Scores!{_column(j + 1)}{i + 2}{head.scaling}")
        mask = np.triu(np.full(scores.shape, MASKED), 1) if head.causal else np.zeros(scores.shape)
        self._pairs("Mask", mask)
        masked = scaled + mask
        self._pairs("Masked", masked, lambda i, j: "=Scaled!{0}{1}+Mask!{0}{1}".format(_column(j + 1), i + 2))
        row_end = _column(n)
        exp = np.exp(masked - masked.max(axis=1, keepdims=True))
        self._pairs(
            "Exp",
            exp,
            lambda i, j: f"=EXP(Masked!{_column(j + 1)}{i + 2}-MAX(Masked!$B{i + 2}:${row_end}{i + 2}))",
        )
        softmax = exp / exp.sum(axis=1, keepdims=True)
        self._pairs(
            "Softmax", softmax, lambda i, j: f"=Exp!{_column(j + 1)}{i + 2}/SUM(Exp!$B{i + 2}:${row_end}{i + 2})"
        )
        z = softmax @ found["V"]
        self._sheet(
            "Z",
            self.queries,
            inner,
            z,
            lambda i, j: (
                "=" + "+".join(f"Softmax!{_column(key + 1)}{i + 2}*V!{_column(j + 1)}{key + 2}" for key in range(n))
            ),
        )
        self._sheet("Model", self.queries, inner, head.z)
        self._sheet(
            "Check",
            self.queries,
            inner,
            z - head.z,
            lambda i, j: "=Z!{0}{1}-Model!{0}{1}".format(_column(j + 1), i + 2),
        )
        return float(np.abs(z - head.z).max())

    def _pairs(self, title: str, values: Array, formula: Cells | None = None) -> None:
        """A sheet with a row for each query and a column for each key."""
        self._sheet(title, self.queries, self.keys, values, formula)

    def _sheet(
        self, title: str, rows: Sequence[str], columns: Sequence[str], values: Array, formula: Cells | None = None
    ) -> None:
        """Numbers as they are, or as formulas that come to them. Names are text, also where they begin like a formula."""
        sheet = self.book.add_worksheet(title)
        shown = self.large if title == "Mask" else self.number
        for j, name in enumerate(columns):
            sheet.write_string(0, j + 1, name, self.label)
        for i, name in enumerate(rows):
            sheet.write_string(i + 1, 0, name, self.label)
            for j in range(len(columns)):
                value = float(values[i, j])
                if formula is None:
                    sheet.write_number(i + 1, j + 1, value, shown)
                else:
                    sheet.write_formula(i + 1, j + 1, formula(i, j), shown, _cached(value))
        sheet.freeze_panes(1, 1)


def _cached(value: float) -> Any:
    """A formula's value as a workbook has it: what is no number is an error."""
    return value if np.isfinite(value) else "#NUM!"


def _named(place: int, piece: str) -> str:
    return _plain(f"{place + 1} {piece}")


def _counted(size: int) -> list[str]:
    return [str(i + 1) for i in range(size)]


def _plain(text: str) -> str:
    """Without the signs that a workbook cannot hold."""
    return _CONTROL.sub("\ufffd", text)[:1000]


def _column(number: int) -> str:
    """The letters of the column after `number` others: 0 is A."""
    from xlsxwriter.utility import xl_col_to_name

    return xl_col_to_name(number)


def _turned(x: Array) -> Array:
    """Queries or keys [n, d] turned by their positions (Su et al. 2021): pairs (2r, 2r + 1), angle i / 10000^(2r / d)."""
    d = x.shape[1]
    angles = np.arange(len(x))[:, None] / 10000.0 ** (np.arange(0, d, 2) / d)
    even, odd = x[:, 0::2], x[:, 1::2]
    out = np.empty_like(x)
    out[:, 0::2] = even * np.cos(angles) - odd * np.sin(angles)
    out[:, 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return out


def _turning(sheet: str, i: int, j: int, d: int) -> str:
    """The formula of one number of `_turned`."""
    pair = j // 2
    even, odd = (f"{sheet}!{_column(2 * pair + k + 1)}{i + 2}" for k in (0, 1))
    angle = f"{i}/10000^({2 * pair}/{d})"
    if j % 2 == 0:
        return f"={even}*COS({angle})-{odd}*SIN({angle})"
    return f"={even}*SIN({angle})+{odd}*COS({angle})"
