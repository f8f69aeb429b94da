"""A capture in other forms: one page, a file, a workbook, word links."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sightline.errors import ConfigError
from sightline.serve.code import code_of
from sightline.serve.schema import Refusal
from sightline.serve.workshop import Workshop

if TYPE_CHECKING:
    from sightline.inspection.capture import Capture
    from sightline.inspection.manifest import StackInfo
    from sightline.serve.workshop import Served

STATIC = Path(__file__).resolve().parent / "static"
"""Where the built page lies."""
FORMS = {
    "html": ("html", "text/html; charset=utf-8"),
    "ttrace": ("ttrace", "application/octet-stream"),
    "xlsx": ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "pharaoh": ("pharaoh", "text/plain; charset=utf-8"),
}
"""How a file of each form ends, and what it is."""


def exported(
    workshop: Workshop, id: str, form: str, lang: str, stack: str | None, layer: int | None, head: int | None, data: str
) -> bytes:
    """The bytes of a file, made in the thread that owns the models."""
    capture = workshop.capture(id)
    return written(workshop, capture, form, lang, stack, layer, head, data)


def written(
    workshop: Workshop,
    capture: "Capture",
    form: str,
    lang: str = "en",
    stack: str | None = None,
    layer: int | None = None,
    head: int | None = None,
    data: str = "run",
) -> bytes:
    """A capture as a file of a form; layers and heads are counted from 0, and `data` is how much a page holds. Without `stack` a
    workbook is of the first attention that the model has.

    Raises Refusal if there is no such head or no attention at all, no template of the page, or a model too large for a page with
    all of it.
    """
    from sightline.inspection.pack import trace_bytes

    served = workshop.served(capture.manifest.request["model"])
    if form == "ttrace":
        return trace_bytes(capture)
    if form in ("pharaoh", "xlsx") and not served.info.stacks:
        raise Refusal(422, "no_attention", model=served.name)
    if form == "pharaoh":
        return _pharaoh(capture, layer, head)
    if form == "xlsx":
        return _workbook(capture, served, stack, layer or 0, head or 0, lang)
    return _page(workshop, capture, served, lang, data)


def _pharaoh(capture: "Capture", layer: int | None, head: int | None) -> bytes:
    from sightline.inspection.links import best_head, word_links
    from sightline.metrics.alignment import pharaoh

    if layer is None:
        layer, head = best_head(capture)
    cross = next(each for each in capture.manifest.model.stacks if each.name == "decoder.cross_attn")
    if layer >= cross.layers or (head is not None and head >= cross.heads[layer]):
        raise Refusal(422, "unknown_head", stack=cross.name, layer=layer, head=-1 if head is None else head)
    return f"{pharaoh(word_links(capture, layer, head))}\n".encode()


def _workbook(capture: "Capture", served: "Served", stack: str | None, layer: int, head: int, lang: str) -> bytes:
    from sightline.serve.sheet import TOKENS, workbook

    infos: dict[str, StackInfo] = {each.name: each for each in capture.manifest.model.stacks}
    stack = stack or next(iter(infos))
    info = infos.get(stack)
    if info is None:
        raise Refusal(422, "unknown_stack", stack=stack[:40], known=", ".join(infos))
    if layer >= info.layers or head >= info.heads[layer]:
        raise Refusal(422, "unknown_head", stack=stack, layer=layer, head=head)
    longest = max(len(capture.manifest.src.tokens), len(capture.manifest.tgt.tokens))
    if longest > TOKENS:
        raise Refusal(413, "sheet_too_large", tokens=longest, limit=TOKENS)
    try:
        return workbook(capture, served.bundle, stack, layer, head, lang)
    except ConfigError as error:
        raise Refusal(422, "no_formula", message=str(error)) from error
    except ImportError as error:
        raise Refusal(422, "extra_missing", extra="explore") from error


def _page(workshop: Workshop, capture: "Capture", served: "Served", lang: str, data: str) -> bytes:
    from sightline.serve.offline import WHOLE, page

    path = STATIC / "offline.html"
    if not path.is_file():
        raise Refusal(404, "page_not_built", command="make web")
    models: dict[str, Any] = {**workshop.models(), "models": [served.shown()]}
    code = {"steps": code_of(served.bundle)}
    if data == "model" and served.info.parameters > WHOLE:
        raise Refusal(413, "model_too_large", parameters=served.info.parameters, limit=WHOLE)
    parameters = workshop.parameters(served.name)
    return page(path.read_text(encoding="utf-8"), capture, parameters, models, code, lang, data)
