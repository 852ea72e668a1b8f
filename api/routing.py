"""Routes that answer with and without a trailing slash; a redirect would lose request bodies behind proxies."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


def both(path: str, handler: Handler, *methods: str) -> list[Route]:
    """Both spellings of a path; GET (and with it HEAD) when no method is named."""
    return [Route(spelling, handler, methods=list(methods) or ["GET"]) for spelling in (path, f"{path}/")]
