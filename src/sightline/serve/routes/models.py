"""Models: what they are, their weights, and the code that computes with them."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from sightline.serve.code import code_of
from sightline.serve.replies import bytes_reply, json_reply, same, tag_of

router = APIRouter()


@router.get("/models")
async def models(request: Request) -> Response:
    """All models, and the limits of requests."""
    state = request.app.state
    if (opening := state.workshop.opening) is not None:
        return json_reply(request, opening.models)
    return json_reply(request, await state.do(state.workshop.models))


@router.get("/models/{name}/weights")
async def weights(request: Request, name: str, names: str = "") -> Response:
    """Parameters by their names in the checkpoint, separated by commas, as safetensors in float32."""
    state, asked = request.app.state, [each for each in names.split(",") if each]
    served = await state.do(state.workshop.served, name)
    tag = tag_of("weights", served.sha256, asked)
    return same(request, tag) or bytes_reply(await state.do(state.workshop.weights, name, asked), tag)


@router.get("/models/{name}/code")
async def code(request: Request, name: str) -> Response:
    """The lines of the installed package that do each step of this model."""
    state = request.app.state
    served = await state.do(state.workshop.served, name)
    return json_reply(request, {"steps": await state.do(code_of, served.bundle)})
