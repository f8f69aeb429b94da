"""A capture as a file to keep."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from sightline.serve.exports import FORMS, exported

router = APIRouter()
Place = Annotated[int | None, Query(ge=0, le=10_000)]


@router.get("/export/{id}")
async def export(
    request: Request,
    id: str,
    form: Literal["html", "ttrace", "xlsx", "pharaoh"],
    lang: Literal["en", "zh"] = "en",
    stack: Annotated[str | None, Query(max_length=40)] = None,
    layer: Place = None,
    head: Place = None,
    data: Literal["view", "run", "model"] = "run",
) -> Response:
    """The file. `stack`, `layer` and `head`, from 0 as in the manifest, say which head a workbook or word links are of; `data`
    how much a page holds.
    """
    state = request.app.state
    found = await state.do(exported, state.workshop, id, form, lang, stack, layer, head, data)
    ending, kind = FORMS[form]
    headers = {"content-disposition": f'attachment; filename="sightline-{id}.{ending}"', "cache-control": "no-store"}
    return Response(found, 200, headers, kind)
