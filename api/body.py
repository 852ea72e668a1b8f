"""Request bodies: read under a limit, parsed as JSON whatever the Content-Type says."""

import re
from typing import Any

import msgspec
from starlette.requests import Request

from api.errors import BodyTooLarge, Fault, InvalidRequest

MAX_DEPTH = 64
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
_OFFSET = re.compile(r"\(byte (\d+)\)")
_BOM = b"\xef\xbb\xbf"


async def read(request: Request, limit_bytes: int) -> bytes:
    """The whole body, or BodyTooLarge as soon as it passes the limit."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
    return bytes(body)


def parse(body: bytes) -> Any:
    """Decode JSON. Raises InvalidRequest for a missing, malformed or too deeply nested body."""
    body = body.removeprefix(_BOM)
    if not body.strip():
        raise InvalidRequest([Fault("missing", ("body",), "Field required", None)])
    if too_deep(body):
        raise _malformed(0, f"nested deeper than {MAX_DEPTH} levels")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        found = _OFFSET.search(str(error))
        raise _malformed(int(found[1]) if found else len(body), str(error)) from error
    except UnicodeDecodeError as error:
        raise _malformed(error.start, "not valid UTF-8") from error


async def read_json(request: Request, limit_bytes: int) -> Any:
    """Read and decode the body of a request."""
    return parse(await read(request, limit_bytes))


def require_64_bits(value: Any, loc: tuple[str, ...] = ("body",)) -> None:
    """Refuse integers that neither the worker's messages nor any seed can hold."""
    try:
        msgspec.msgpack.encode(value)
    except OverflowError as error:
        fault = Fault("int_parsing_size", loc, "Input holds an integer of more than 64 bits", msgspec.UNSET)
        raise InvalidRequest([fault]) from error


def too_deep(body: bytes) -> bool:
    """True when arrays and objects nest deeper than MAX_DEPTH; brackets inside strings do not count."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def _malformed(offset: int, reason: str) -> InvalidRequest:
    return InvalidRequest([Fault("json_invalid", ("body", offset), "JSON decode error", {}, {"error": reason})])
