"""GET /openapi.json: every route of every contract; GET /docs: a page drawn from it that works without a network."""

from functools import cache
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute

from api.routing import both

PAGE = Path(__file__).parent / "data" / "docs.html"


@cache
def _page() -> str:
    return PAGE.read_text(encoding="utf-8")


@cache
def document() -> bytes:
    """The OpenAPI document as JSON."""
    from api import file_operations, openapi
    from api.contracts.comfy import operations as comfy
    from api.contracts.fooocus_api import operations as fooocus_api
    from api.contracts.fooocusapi import operations as fooocusapi

    rooms = (fooocus_api, fooocusapi, comfy, file_operations)
    return msgspec.json.encode(openapi.document([made for room in rooms for made in room.operations()]))


async def openapi_json(request: Request) -> Response:
    """GET /openapi.json → the document, OpenAPI 3.1."""
    return Response(document(), media_type="application/json")


async def docs(request: Request) -> Response:
    """GET /docs → the routes, what they take and answer, and a form to try each."""
    return HTMLResponse(_page())


async def root(request: Request) -> Response:
    """GET / → 307 to /docs."""
    return RedirectResponse("/docs", 307)


def routes() -> list[BaseRoute]:
    pages = [*both("/docs", docs), *both("/redoc", docs), *both("/", root)[:1]]
    return [*pages, *both("/openapi.json", openapi_json)]
