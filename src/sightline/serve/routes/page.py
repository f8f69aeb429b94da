"""The page itself: the files of `static/`, read as they are."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from sightline.serve.exports import STATIC
from sightline.serve.replies import same, tag_of
from sightline.serve.schema import Refusal

router = APIRouter()
KINDS = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}
MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>sightline</title>
<h1>The page was not built</h1>
<p>The API runs, but this copy of sightline has no <code>serve/static/index.html</code>. In a checkout of its source give
<code>make web</code>, which needs Node; packages that are installed with pip have it.</p>
<h1 lang="zh-CN">页面尚未构建</h1>
<p lang="zh-CN">接口已经在运行，但这份 sightline 里没有 <code>serve/static/index.html</code>。
请在源码目录中运行 <code>make web</code>（需要 Node）；用 pip 安装的软件包自带页面。</p></html>
"""


@router.get("/")
async def index(request: Request) -> Response:
    """The page, or one that says that it is missing."""
    if not (STATIC / "index.html").is_file():
        return Response(MISSING, 503, {"cache-control": "no-store"}, KINDS[".html"])
    return _file(request, "index.html")


@router.get("/{name}")
async def file(request: Request, name: str) -> Response:
    """A file that lies beside it."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    path = STATIC / name
    if path.parent != STATIC or path.suffix not in KINDS or name == "offline.html" or not path.is_file():
        raise Refusal(404, "not_found", path=f"/{name[:100]}")
    data = path.read_bytes()
    tag = tag_of("file", name, data)
    if (unchanged := same(request, tag)) is not None:
        unchanged.headers["cache-control"] = "no-cache"
        return unchanged
    return Response(data, 200, {"etag": tag, "cache-control": "no-cache"}, KINDS[path.suffix])
