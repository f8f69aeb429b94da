"""The lines of the installed package that do each step of a model: read from the files, so that they cannot drift."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sightline.bundle import Bundle

PACKAGE = Path(__file__).resolve().parent.parent
Place = tuple[str, str, str, int]
"""A file of the package, the `def` or `class` after which it is looked for, how the first line begins, and how many lines."""

BLOCK, ATTENTION, SHORT_ATTENTION = "nn/block.py", "nn/attention.py", "nn/softmax_attention.py"
CORES, POSITION, EMBED, RECURRENT = "nn/cores.py", "nn/position.py", "nn/embed.py", "nn/recurrent.py"

STEPS: dict[str, Place] = {
    "x": (BLOCK, "class Block", "h = self.self_attn(self.self_norm(x)", 1),
    **dict.fromkeys(("q", "k", "v"), (ATTENTION, "class SelfAttention", "q, k, v = self._split(self.q_proj(x))", 1)),
    "cross.x": (BLOCK, "class Block", "h = self.cross_attn(self.cross_norm(x)", 1),
    "residual": (BLOCK, "def _add", "x = self.dropout.add(x, h)", 1),
    "norm": (BLOCK, "def _add", "return x if self.norm_at", 1),
}
"""Of a Transformer; `cross.` where the attention to the memory has lines of its own."""
TO_MEMORY: dict[str, Place] = {
    "cross.q": (ATTENTION, "class CrossAttention", "q = self._split(self.q_proj(x))", 1),
    **dict.fromkeys(
        ("cross.k", "cross.v"),
        (ATTENTION, "class CrossAttention", "return KeyValues(self._split(self.k_proj(memory))", 1),
    ),
    **dict.fromkeys(("concat", "out"), (ATTENTION, "def _attend", "return self.o_proj(self.core(q, k, v, mask)", 1)),
}
"""Of every model with attention."""
EMBEDDING: dict[str, Place] = {"embed": (EMBED, "def forward", "return self.dropout(self.position(", 1)}
"""Of every model."""
ASKING: dict[str, Place] = {
    "cross.x": (RECURRENT, "class AttentiveLayer", "return self.cross_attn(h, memory, mask.standing(place), cache)", 1),
}
"""Of a recurrent model with attention."""
DOT: dict[str, Place] = {
    "scores": (SHORT_ATTENTION, "def _weights", "scores, scale = _wide(q @ k.mT)", 1),
    "scale": (SHORT_ATTENTION, "def _weights", "scores, scale = _wide(q @ k.mT)", 2),
    "mask": (SHORT_ATTENTION, "def _weights", "scores = scores.mul_(scale)", 1),
    "softmax": (SHORT_ATTENTION, "def _weights", "weights = torch.softmax(scores", 1),
    "z": (SHORT_ATTENTION, "class _SoftmaxAttention", "return _heads_last(_dropped(weights, random, threshold)", 1),
}
"""Of the scaled dot product, for the sentences that a page shows."""
COSINE: dict[str, Place] = {
    "scores": (CORES, "class Cosine", "q, k = nn.functional.normalize(q", 2),
    "scale": (CORES, "class Cosine", "return self.log_sharpness.exp()", 1),
    **dict.fromkeys(
        ("mask", "softmax"), (CORES, "def masked_softmax", "weights = torch.softmax(scores.masked_fill(", 1)
    ),
    "z": (CORES, "class AttentionCore", "return self.dropout(self.weights(q, k, mask))", 1),
}
POSITIONS: dict[str, Place] = {
    "sinusoidal": (POSITION, "class Sinusoidal", "return x + (self.table[at:end]", 1),
    "learned": (POSITION, "class Learned", "return x + self.weight[at : at + x.shape[1]]", 1),
    "rotary": (POSITION, "def turned", "cos, sin = angles.to(x.dtype)", 3),
    "none": (POSITION, "class Position", "return x", 1),
}


def code_of(bundle: "Bundle") -> dict[str, Any]:
    """For each step of this model the file, from the package's folder, the number of the first line, and the lines."""
    from sightline.inspection.hooks import attentions
    from sightline.models.encoder_decoder import EncoderDecoder
    from sightline.models.recurrent import Recurrent
    from sightline.nn.cores import Cosine, ScaledDotProduct

    model = bundle.model
    position = getattr(bundle.config.model, "position", "none")
    places = EMBEDDING | {"position": POSITIONS[position]}
    known = attentions(model)
    if not known:
        return {step: lines_at(place) for step, place in places.items()}
    core = next(iter(known.values())).core
    formulas = {ScaledDotProduct: DOT, Cosine: COSINE}
    places |= TO_MEMORY | formulas.get(type(core), {})
    if isinstance(model, EncoderDecoder):
        places |= STEPS
    elif isinstance(model, Recurrent):
        places |= ASKING
    found = {step: lines_at(place) for step, place in places.items()}
    if type(core) not in formulas:
        of_weights, of_z = _source(type(core).weights), _source(type(core).forward)
        found |= dict.fromkeys(("scores", "scale", "mask", "softmax"), of_weights) | {"z": of_z}
    return found


def lines_at(place: Place) -> dict[str, Any]:
    """The lines of a place. Raises LookupError if they are not in the file."""
    file, after, first, count = place
    lines = (PACKAGE / file).read_text(encoding="utf-8").splitlines()
    begins = [i for i, line in enumerate(lines) if line.lstrip().startswith(after)]
    if not begins:
        raise LookupError(f"{file} has no {after!r}")
    for i in range(begins[0], len(lines)):
        if lines[i].lstrip().startswith(first):
            return {"file": f"sightline/{file}", "line": i + 1, "lines": _dedented(lines[i : i + count])}
    raise LookupError(f"{file} has no {first!r} after {after!r}")


def _source(method: Any) -> dict[str, Any]:
    """A method of a core that somebody else wrote."""
    try:
        lines, line = inspect.getsourcelines(method)
        file = inspect.getsourcefile(method) or ""
    except (OSError, TypeError):
        return {"file": getattr(method, "__module__", ""), "line": 0, "lines": []}
    inside = Path(file).resolve()
    shown = f"sightline/{inside.relative_to(PACKAGE)}" if inside.is_relative_to(PACKAGE) else inside.name
    return {"file": shown, "line": line, "lines": _dedented([each.rstrip("\n") for each in lines[:40]])}


def _dedented(lines: list[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]
