"""Captures: made, told, and handed out tensor by tensor."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from sightline.serve.packs import packed
from sightline.serve.replies import bytes_reply, json_reply, same, tag_of
from sightline.serve.schema import Refusal, RunRequest

router = APIRouter()


@router.post("/runs")
async def run(request: Request, asked: RunRequest) -> Response:
    """Translate and capture. 201 with the manifest, 200 if that was done before."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise Refusal(400, "not_json")
    state = request.app.state
    if (opening := state.workshop.opening) is not None and asked == opening.asked:
        return json_reply(request, opening.manifest)
    found, new = await state.do(state.workshop.run, asked)
    return json_reply(request, asdict(found.manifest), 201 if new else 200)


@router.get("/runs/{id}")
async def manifest(request: Request, id: str) -> Response:
    """What was captured before."""
    state = request.app.state
    if (opening := state.workshop.opening) is not None and id == opening.manifest["id"]:
        return json_reply(request, opening.manifest)
    found = await state.do(state.workshop.capture, id)
    return json_reply(request, asdict(found.manifest))


@router.get("/runs/{id}/pack")
async def pack(
    request: Request,
    id: str,
    names: str = "",
    dtype: str = "f32",
    pool: Annotated[int | None, Query(ge=1, le=4096)] = None,
) -> Response:
    """Tensors by name, separated by commas, as safetensors; a name may end in `*`. `pool` is for attention weights."""
    state, asked = request.app.state, [each for each in names.split(",") if each]
    if (opening := state.workshop.opening) is not None and opening.holds(id, asked):
        return bytes_reply(packed(opening.tensors, asked, dtype, pool), tag_of("opening", id, asked, dtype, pool))
    found = await state.do(state.workshop.capture, id)
    tag = tag_of("pack", id, found.manifest.tool, asked, dtype, pool)
    return same(request, tag) or bytes_reply(await state.do(state.workshop.pack, id, asked, dtype, pool), tag)
