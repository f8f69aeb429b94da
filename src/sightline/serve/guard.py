"""What stands before every request: who may ask, how much, and what a browser may do with the answer."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from sightline.serve.schema import BODY, Refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
LOCAL = ("127.0.0.1", "localhost", "[::1]")
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Guard:
    """ASGI around the application.

    A page of another site that has its own name point to this machine (DNS rebinding) sends that name as Host, and is refused; so
    is a request that another site's page makes, by its Origin; and a body of more than `BODY` bytes.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], refuse: Any) -> None:
        self.app, self.refuse = app, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        head = scope["method"] == "HEAD"  # as GET, without the body
        if head:
            scope = {**scope, "method": "GET"}

        async def with_headers(message: dict[str, Any]) -> None:
            if head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in HEADERS if each[0] not in there)]
            await send(message)

        try:
            _check(scope["headers"])
        except Refusal as refusal:
            await self.refuse(refusal)(scope, receive, with_headers)
            return
        message = await receive()
        body = [message.get("body", b"")]
        while message.get("more_body") and sum(map(len, body)) <= BODY:
            message = await receive()
            body.append(message.get("body", b""))
        if sum(map(len, body)) > BODY:
            await self.refuse(Refusal(413, "body_too_large", limit=BODY))(scope, receive, with_headers)
            return
        waiting = [{**message, "body": b"".join(body)}]

        async def read() -> dict[str, Any]:
            return waiting.pop() if waiting else await receive()

        await self.app(scope, read, with_headers)


def _check(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refusal."""
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    if _host(found.get("host", "")) not in LOCAL:
        raise Refusal(400, "bad_host", host=found.get("host", "")[:100])
    origin = found.get("origin")
    if origin is not None and _host(origin.partition("://")[2]) not in LOCAL:
        raise Refusal(400, "bad_origin", origin=origin[:100])
    length = found.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length[:18]) > BODY:
        raise Refusal(413, "body_too_large", limit=BODY)


def _host(text: str) -> str:
    """A host's name without its port."""
    name, colon, port = text.rpartition(":")
    return (name if colon and port.isdigit() else text).lower()
