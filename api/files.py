"""Serving stored pictures: one response helper for every route that returns a file."""

from pathlib import Path
from urllib.parse import quote

from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute

from api.errors import NotFound
from api.images import MEDIA_TYPES, accepted_type, convert
from api.routing import both
from api.services import services

# What is served is a picture and nothing else, whatever its bytes may say to a browser.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=86400",
}


def stored(root: Path, *parts: str) -> Path:
    """The picture below `root`, or NotFound: no way out, no symbolic link, no other kind of file."""
    if any(part in ("", ".", "..") or part.startswith(".") or set(part) & {"/", "\\", "\0", ":"} for part in parts):
        raise NotFound
    real_root = root.resolve()
    path = real_root.joinpath(*parts)
    known = path.suffix.lower().lstrip(".") in MEDIA_TYPES
    if not known or len(str(path)) > 4000 or max(map(len, parts)) > 255 or path.resolve() != path or not path.is_file():
        raise NotFound
    return path


def picture(path: Path) -> Response:
    """The stored bytes with ETag, Last-Modified, HEAD and Range."""
    media_type = MEDIA_TYPES[path.suffix.lower().lstrip(".")]
    disposition = {"Content-Disposition": f"inline; filename*=UTF-8''{quote(path.name)}"}
    return FileResponse(path, media_type=media_type, headers={**SAFE_HEADERS, **disposition})


async def picture_as(path: Path, accept: str) -> Response:
    """The picture as the type that an Accept header names exactly; untouched when it is that already."""
    wanted = accepted_type(accept)
    if wanted is None or wanted == MEDIA_TYPES[path.suffix.lower().lstrip(".")]:
        return picture(path)
    data = await to_thread.run_sync(path.read_bytes)
    return Response(await run_in_threadpool(convert, data, wanted), media_type=wanted, headers=SAFE_HEADERS)


async def result_file(request: Request) -> Response:
    """GET /files/{date}/{name} and /outputs/{date}/{name} → one stored result."""
    path = stored(services(request).outputs_dir, request.path_params["date"], request.path_params["name"])
    return await picture_as(path, request.headers.get("accept", ""))


def routes() -> list[BaseRoute]:
    return [*both("/files/{date}/{name}", result_file), *both("/outputs/{date}/{name}", result_file)]
