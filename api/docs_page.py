"""GET /docs: one static page that lists the routes and works without a network."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from api.routing import both

PAGE = Path(__file__).parent / "data" / "docs.html"


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


async def docs(request: Request) -> Response:
    """GET /docs → the routes, a form to try one, links."""
    return HTMLResponse(_page())


async def root(request: Request) -> Response:
    """GET / → 307 to /docs."""
    return RedirectResponse("/docs", 307)


def routes() -> list[BaseRoute]:
    return [*both("/docs", docs), *both("/redoc", docs), *both("/", root)[:1]]
