"""One table from error codes to each contract's own error shape."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.errors import FocalError

MOST_FAULTS = 100  # that an answer names; of the others it says how many there are
INPUT_SHOWN = 200  # characters of a refused value that are echoed
_AS_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
STATUS: dict[str, int] = {
    "bad_image": 400,
    "bad_path": 400,
    "body_too_large": 413,
    "duplicate_job": 409,
    "forbidden": 403,
    "invalid_prompt": 400,
    "invalid_request": 422,
    "job_is_open": 409,
    "job_not_found": 404,
    "not_found": 404,
    "queue_full": 409,
    "request_refused": 422,
    "storage_full": 503,
    "storage_unavailable": 503,
    "worker_died": 503,
    "worker_unavailable": 503,
}
REST_PREFIXES = ("/v1/", "/v2/", "/files/", "/ping", "/docs", "/tasks", "/outputs/", "/inputs/")


class Fault(msgspec.Struct, omit_defaults=True):
    """One reason a request is refused, in the form that generated clients parse."""

    type: str
    loc: tuple[str | int, ...]
    msg: str
    input: Any = msgspec.UNSET
    ctx: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class InvalidRequest(FocalError):
    """A request refused by its schema; carries its faults at once, the first MOST_FAULTS of them.

    left_out: how many more there are; a last fault says so.
    """

    def __init__(self, faults: Sequence[Fault], left_out: int = 0) -> None:
        named = ", ".join(".".join(map(str, fault.loc)) for fault in faults[:5])
        super().__init__(
            "invalid_request", f"The request is not valid: {named}.", "Correct the fields named in detail."
        )
        self.faults = list(faults[:MOST_FAULTS])
        if left_out := left_out + max(0, len(faults) - MOST_FAULTS):
            self.faults.append(_more(left_out))


def _more(left_out: int) -> Fault:
    msg = f"{left_out} more {'error was' if left_out == 1 else 'errors were'} found and left out"
    return Fault("too_many_errors", ("body",), msg, ctx={"left_out": left_out})


class BodyTooLarge(FocalError):
    """A body above the limit; it was not read to its end."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            "body_too_large", f"The request body is larger than {limit_bytes} bytes.", "Send less, or raise --max-body."
        )


class NotFound(FocalError):
    """Something asked for by name or id that does not exist."""

    def __init__(self, message: str = "Not Found", hint: str = "") -> None:
        super().__init__("not_found", message, hint)


def shown(value: Any) -> Any:
    """The refused value, cut to INPUT_SHOWN characters so that no megabytes of base64 come back.

    What JSON cannot hold (an infinity, half a character, a set: Python's spelling is read in forms) is shown as text.
    """
    if isinstance(value, str) and len(value) > INPUT_SHOWN:
        value = value[:INPUT_SHOWN] + "…"
    text = ""
    try:
        for part in _AS_JSON.iterencode(value):  # no further than it is shown: what follows may be megabytes
            text += part[: INPUT_SHOWN + 1]
            if len(text) > INPUT_SHOWN:
                break
        text.encode()
    except (TypeError, ValueError):
        return _printed(value)
    return value if isinstance(value, str) or len(text) <= INPUT_SHOWN else text[:INPUT_SHOWN] + "…"


def _printed(value: Any) -> str:
    try:
        return repr(value)[:INPUT_SHOWN]
    except ValueError:  # an integer with more digits than Python prints: 0xfff… is read in forms
        return f"<{type(value).__name__}>"


def status_of(error: FocalError) -> int:
    """HTTP status of an error; what is not in the table is the server's own fault."""
    return STATUS.get(error.code, 500)


def rest_shape(error: FocalError) -> dict[str, Any]:
    """`{"detail": ...}`, a list of faults when the schema refused the request."""
    if isinstance(error, InvalidRequest):
        return {"detail": msgspec.to_builtins(error.faults)}
    return {"detail": f"{error.message} {error.hint}".strip() if error.hint else error.message}


def graph_shape(error: FocalError) -> dict[str, Any]:
    """`{"error": {type, message, details, extra_info}, "node_errors": {}}` as graph clients expect."""
    details = error.hint
    if isinstance(error, InvalidRequest):
        details = "\n".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in error.faults)
    return {
        "error": {"type": error.code, "message": error.message, "details": details or "", "extra_info": {}},
        "node_errors": {},
    }


async def on_focal_error(request: Request, error: Exception) -> Response:
    """Answer a FocalError in the shape of the contract whose route was asked."""
    assert isinstance(error, FocalError)
    shape = rest_shape if request.url.path.startswith(REST_PREFIXES) else graph_shape
    return JSONResponse(shape(error), status_of(error))


async def on_queue_full(request: Request, error: Exception) -> Response:
    """Answer a refused submission as its contract left it in `request.state.queue_full`; others get a plain error."""
    refusal = getattr(request.state, "queue_full", None)
    return await on_focal_error(request, error) if refusal is None else refusal()


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer 404 and 405 as `{"detail": "Not Found"}`."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, dict(error.headers or {}))


async def on_unexpected(request: Request, error: Exception) -> Response:
    """The last resort; Starlette logs the traceback."""
    return JSONResponse({"detail": "Internal Server Error"}, 500)
