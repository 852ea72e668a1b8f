"""Serving stored pictures: one response helper for every route that returns a file."""

import re
from pathlib import Path
from urllib.parse import quote

from anyio import to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from api.errors import NotFound
from api.images import MEDIA_TYPES, accepted_type, convert
from api.routing import both
from api.services import services

_ENCODED = re.compile(rb"%2f|%5c", re.IGNORECASE)  # a separator that was not meant as one
_DIGEST = re.compile(r"[0-9a-f]{64}\.png")
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
    """A file that may be deleted while it is asked for: the head is held back until the file is open.

    A client that has it already is told so with 304.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_known(Headers(scope=scope).get("if-none-match", ""), self.headers["etag"]):
            kept = {name: self.headers[name] for name in ("etag", "last-modified", "cache-control")}
            await Response(status_code=304, headers=kept)(scope, receive, send)
            return
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


def _is_known(asked: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return etag in tags or tags == ["*"]


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
    """GET /files/{date}/{name} and /outputs/{date}/{name} → one stored result, whatever folder it lies in."""
    if _ENCODED.search(request.scope.get("raw_path", b"")):
        raise NotFound
    parts = request.path_params["path"].removesuffix("/").split("/")
    return await picture_as(stored(services(request).outputs_dir, *parts), request.headers.get("accept", ""))


async def input_file(request: Request) -> Response:
    """GET /inputs/{name} → a picture that came with a request, by the digest that names it."""
    name = request.path_params["name"]
    if not _DIGEST.fullmatch(name):
        raise NotFound
    return await picture_as(stored(services(request).input_dir, name), request.headers.get("accept", ""))


def routes() -> list[BaseRoute]:
    results = [Route(f"/{root}/{{path:path}}", result_file, methods=["GET"]) for root in ("files", "outputs")]
    return [*results, *both("/inputs/{name}", input_file)]
