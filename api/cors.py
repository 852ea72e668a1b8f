"""CORS as both contracts have it: every origin, with credentials (API contract §5.5)."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Send


class OpenToAllOrigins(CORSMiddleware):
    """Answers `*` to a page that sends no cookie, and names the origin to one that does."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            app,
            allow_origins=["*"],
            allow_methods=["*"],
            allow_headers=["*"],
            allow_credentials=True,
            expose_headers=["X-Warning"],
        )

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        if message["type"] == "http.response.start" and "origin" in request_headers:
            message.setdefault("headers", [])
            headers = MutableHeaders(scope=message)
            headers.update(self.simple_headers)
            if "cookie" in request_headers:
                self.allow_explicit_origin(headers, request_headers["origin"])
            else:
                headers["Access-Control-Allow-Origin"] = "*"
        await send(message)
