"""The X-API-KEY rule, as middleware in front of every route."""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import REST_PREFIXES
from api.settings import LOOPBACK_HOSTS

# Results must load in a browser's <img>, health checks and documentation need no key.
OPEN_PATHS = frozenset({"", "/ping", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"})
OPEN_PREFIXES = ("/files/", "/outputs/", "/inputs/")


class RequireKey:
    """Answer 403 `{"detail": "Forbidden"}` unless the request carries the key (X-API-KEY, or as a Bearer token)."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self.key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._open(scope) or self._carries_key(Headers(scope=scope)):
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await JSONResponse({"detail": "Forbidden"}, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "Forbidden"})

    def _open(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return scope.get("method") == "OPTIONS" or path.rstrip("/") in OPEN_PATHS or path.startswith(OPEN_PREFIXES)

    def _carries_key(self, headers: Headers) -> bool:
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return self._is_key(headers.get("x-api-key", "")) | self._is_key(bearer)

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.key)


class SameOriginGraphs:
    """Refuse a graph that another web page posts to a server on this machine.

    A browser says where a request comes from; when Host is loopback and Origin is another host, it is 403. The REST
    contracts are open to every origin, as their clients need.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("POST", "DELETE") and self._foreign(scope):
            await JSONResponse({"detail": "Forbidden: the page comes from another origin"}, 403)(scope, receive, send)
        elif scope["type"] == "websocket" and self._foreign(scope):
            await send({"type": "websocket.close", "code": 1008, "reason": "Forbidden"})
        else:
            await self.app(scope, receive, send)

    def _foreign(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        origin, host = headers.get("origin"), urlsplit(f"//{headers.get('host', '')}").hostname
        if not origin or scope["path"].startswith(REST_PREFIXES) or host not in LOOPBACK_HOSTS:
            return False
        return urlsplit(origin).hostname != host
