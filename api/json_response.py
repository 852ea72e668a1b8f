"""JSON answers made by msgspec: structs as they are, and large graphs without holding up the event loop for long."""

from typing import Any

import msgspec
from starlette.responses import Response


class Json(Response):
    """Any value of plain data and msgspec structs; keys in their order."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)
