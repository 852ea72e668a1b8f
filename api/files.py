"""Serving stored pictures: one response helper for every route that returns a file."""

from pathlib import Path
from urllib.parse import quote

from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

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


class StoredPicture(FileResponse):
    """A file that may be deleted while it is asked for: the head is held back until the file is open."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head: Message | None = None

        async def send_late(message: Message) -> None:
            nonlocal head
            if message["type"] == "http.response.start":
                head = message
                return
            if head is not None:
                await send(head)
                head = None
            await send(message)

        try:
            await super().__call__(scope, receive, send_late)
        except FileNotFoundError:
            await JSONResponse({"detail": "Not Found"}, 404)(scope, receive, send)


def picture(path: Path) -> Response:
    """The stored bytes with ETag, Last-Modified, HEAD and Range. Raises NotFound."""
    media_type = MEDIA_TYPES[path.suffix.lower().lstrip(".")]
    headers = {**SAFE_HEADERS, "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.name)}"}
    try:
        return StoredPicture(path, media_type=media_type, headers=headers, stat_result=path.stat())
    except FileNotFoundError as error:
        raise NotFound from error


async def picture_as(path: Path, accept: str) -> Response:
    """The picture as the type that an Accept header names exactly; untouched when it is that already."""
    wanted = accepted_type(accept)
    if wanted is None or wanted == MEDIA_TYPES[path.suffix.lower().lstrip(".")]:
        return picture(path)
    try:
        data = await to_thread.run_sync(path.read_bytes)
    except FileNotFoundError as error:
        raise NotFound from error
    return Response(await run_in_threadpool(convert, data, wanted), media_type=wanted, headers=SAFE_HEADERS)


async def result_file(request: Request) -> Response:
    """GET /files/{date}/{name} and /outputs/{date}/{name} → one stored result."""
    path = stored(services(request).outputs_dir, request.path_params["date"], request.path_params["name"])
    return await picture_as(path, request.headers.get("accept", ""))


def routes() -> list[BaseRoute]:
    return [*both("/files/{date}/{name}", result_file), *both("/outputs/{date}/{name}", result_file)]
