"""The application: the page, and the API that it reads."""

from asyncio import CancelledError, wrap_future
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sightline.serve.guard import Guard
from sightline.serve.replies import refusal_reply
from sightline.serve.routes import export, models, page, runs
from sightline.serve.schema import Refusal
from sightline.serve.workshop import Workshop, complain

Do = Callable[..., Any]


def create_app(workshop: Workshop) -> FastAPI:
    """The application over a workshop, which it closes when it ends. It is for this machine only: see `Guard`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workshop.close()

    app = FastAPI(title="sightline", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)

    async def do(work: Do, *given: Any) -> Any:
        """Have something done in the thread that owns the models."""
        try:
            return await wrap_future(workshop.submit(work, *given))
        except CancelledError:
            if workshop.closed:
                raise Refusal(503, "interrupted") from None
            raise

    app.state.workshop, app.state.do = workshop, do
    for each in (models, runs, export):
        app.include_router(each.router, prefix="/api/v1")
    app.include_router(page.router)

    @app.exception_handler(Refusal)
    async def _(_: Request, refusal: Refusal) -> Response:
        return refusal_reply(refusal)

    @app.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return refusal_reply(Refusal(400, "not_json"))
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return refusal_reply(Refusal(422, "invalid_request", field=where[:100], problem=str(first["msg"])[:200]))

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "not_json")
        return refusal_reply(Refusal(error.status_code, code, path=request.url.path[:200]))

    @app.exception_handler(Exception)
    async def _(_: Request, error: Exception) -> Response:
        complain(error)
        return refusal_reply(Refusal(500, "internal", problem=type(error).__name__))

    app.add_middleware(Guard, refuse=refusal_reply)  # pyright: ignore[reportArgumentType]
    return app
