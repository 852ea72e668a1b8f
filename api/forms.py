"""Form bodies as the plain data that a JSON body would have been.

The rules are those of Fooocus-API's file routes: an empty text means "not sent", except in a list, where it is the
empty list; lists come repeated, with commas or as JSON; objects come as JSON or as a Python dict in print.
"""

import ast
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import Message

from api import body as bodies
from api.errors import BodyTooLarge, Fault, InvalidRequest, shown
from api.settings import Settings

LISTS = frozenset({"style_selections", "style", "outpaint_selections"})
OBJECTS = frozenset({"loras", "advanced_params"})
OBJECT_LISTS = frozenset({"image_prompts", "controlnet_image", "enhance_ctrlnets", "enhance_ctrls"})
MAX_FILES, MAX_FIELDS = 16, 1000
MAX_PYTHON = 20_000  # characters that are read as Python's print of a value

Items = Sequence[tuple[str, Any]]


async def read_form_or_json(request: Request, settings: Settings) -> tuple[Any, bool]:
    """The body as plain data, files as bytes, and whether it was a form. Raises InvalidRequest, BodyTooLarge."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return plain(await _multipart(request, settings)), True
    body = await bodies.read(request, settings.max_body)
    if kind == "application/x-www-form-urlencoded" and not body.lstrip().startswith((b"{", b"[")):
        return plain(_urlencoded(body)), True
    return bodies.parse(body), False


def plain(items: Items) -> dict[str, Any]:
    """Form fields as the members of an object. Raises InvalidRequest for text that should be an object and is none."""
    sent: dict[str, list[Any]] = {}
    for name, value in items:
        sent.setdefault(name, []).append(value)
    data: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, values in sent.items():
        text = values[-1]
        if name in LISTS:
            data[name] = [part for value in values for part in _list(value)]
        elif text == "" or text == b"":
            continue
        elif name in OBJECT_LISTS:  # clients send the keys of a dict here; only a list of objects means something
            found = _object(text)
            is_real = isinstance(found, list) and all(isinstance(item, dict) for item in found)
            data.update({name: found} if is_real else {})
        elif name in OBJECTS and isinstance(text, str):
            data[name] = found = _object(text)
            if found is None and text.strip().lower() not in ("null", "none"):
                cause = "it is neither JSON nor Python"
                faults.append(Fault("json_invalid", ("body", name), "JSON decode error", shown(text), {"error": cause}))
        else:
            data[name] = text
    if faults:
        raise InvalidRequest(faults)
    return data


async def _multipart(request: Request, settings: Settings) -> Items:
    limit = settings.max_upload + settings.max_body
    limited = Request(request.scope, _counted(request, limit))
    async with limited.form(max_files=MAX_FILES, max_fields=MAX_FIELDS, max_part_size=settings.max_body) as form:
        items: list[tuple[str, Any]] = []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if (value.size or 0) > settings.max_upload:
                    raise BodyTooLarge(settings.max_upload)
                items.append((name, await value.read()))
            else:
                items.append((name, value))
    return items


def _counted(request: Request, limit: int) -> Any:
    """The request's `receive`, which gives up as soon as more bytes came than the limit."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise BodyTooLarge(limit)
        return message

    return receive


def _urlencoded(body: bytes) -> Items:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        fault = Fault("value_error", ("body",), "Value error, the form cannot be read", None, {"error": str(error)})
        raise InvalidRequest([fault]) from error


def _list(value: Any) -> list[str]:
    if not isinstance(value, str):
        return []
    if value.strip().startswith("[") and isinstance(found := _object(value), list):
        return [str(item) for item in found]
    return [part.strip() for part in value.split(",") if part.strip()]


def _object(text: Any) -> Any:
    """JSON, or what Python prints of lists, dicts, texts and numbers; None for anything else."""
    if not isinstance(text, str) or bodies.too_deep(text.encode("utf-8", "surrogatepass")):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        pass
    try:
        return ast.literal_eval(text.strip()) if len(text) <= MAX_PYTHON else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
