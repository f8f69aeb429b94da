"""Answers: JSON, compressed where the browser can read that, and bytes that never change."""

import gzip
import hashlib
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from sightline.serve.schema import Refusal

SHORT = 1000
"""Bytes that are not worth compressing."""


def json_reply(request: Request, value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    data = text.encode("utf-8", "backslashreplace")
    headers = {"cache-control": "no-store", "vary": "accept-encoding"}
    if len(data) > SHORT and "gzip" in request.headers.get("accept-encoding", ""):
        data, headers["content-encoding"] = gzip.compress(data, 5, mtime=0), "gzip"
    return Response(data, status, headers, "application/json")


def refusal_reply(refusal: Refusal) -> Response:
    """A refusal as JSON."""
    body = json.dumps(refusal.body(), separators=(",", ":"))  # in ASCII: it may hold whatever was asked
    return Response(body, refusal.status, {"cache-control": "no-store"}, "application/json")


def tag_of(*parts: object) -> str:
    """An ETag of all that an answer depends on."""
    return f'"{hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:24]}"'


def same(request: Request, tag: str) -> Response | None:
    """The answer "not modified", if the browser has it already."""
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=_kept(tag)) if tag in known else None


def bytes_reply(data: bytes, tag: str) -> Response:
    """Bytes that never change."""
    return Response(data, 200, _kept(tag), "application/octet-stream")


def _kept(tag: str) -> dict[str, str]:
    return {"etag": tag, "cache-control": "private, max-age=86400, immutable"}
