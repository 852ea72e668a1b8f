"""From a request on the wire to a stored job and its answer: the one way that every generation route goes."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from api import forms, neutral
from api.contracts.fooocus_api import answers
from api.contracts.fooocus_api.replies import CONTRACT, Record
from api.contracts.fooocus_api.schemas import AdvancedParams, TextToImage
from api.contracts.fooocus_api.translate_images import read_pictures, refused_field
from api.decode import decode
from api.effects import without_effect
from api.errors import InvalidRequest
from api.services import services
from api.submission import check_room, check_webhook, compiled, enqueue, refuse_unknown
from api.warning_header import with_warnings
from graphs.request import GenerationRequest, Refused

SIZE_TYPOS = ("aspect_ratios_selections", "aspect_ratio")
Translate = Callable[..., GenerationRequest]


class Door(Struct, frozen=True):
    """What a generation route takes and makes of it. body: of JSON; form: of forms, and of JSON with numbered fields.

    pictures: fields that must hold one.
    """

    job_type: str
    translate: Translate
    body: type[TextToImage]
    form: type[Struct]
    pictures: tuple[str, ...] = ()


async def generate(request: Request, door: Door) -> Response:
    """Answer a generation route: a list of pictures, one binary picture, or a job."""
    served = services(request)
    data, is_form = await forms.read_form_or_json(request, served.settings)
    schema = door.form if is_form or _is_numbered(data) else door.body
    catalog = await served.library.current()
    body: Any = decode(schema, _lifted(data), bounds=neutral.bounds(catalog))
    mode = answers.mode_of(request, async_process=body.async_process)
    check_room(served)
    await check_webhook(body.webhook_url, served)
    pictures = await read_pictures(body, served, door.pictures)
    warnings = [f"{typo} was read as aspect_ratios_selection." for typo in SIZE_TYPOS if _stands_for_size(typo, data)]
    asked = door.translate(body, pictures, served.settings, warnings, one_image=mode.kind == "binary")

    def named(refused: Refused) -> InvalidRequest:
        return refused_field(refused, body)

    made = await compiled(asked, catalog, named)
    warnings += [*without_effect(body.advanced_params, made.generation, asked, "advanced_params."), *made.warnings]
    refuse_unknown(served, warnings, named)
    record = Record(
        require_base64=body.require_base64,
        base64_raw=served.settings.base64_raw if mode.base64_raw is None else mode.base64_raw,
    )
    job = await enqueue(
        served,
        made,
        asked,
        catalog,
        contract=CONTRACT,
        kind=door.job_type,
        record=msgspec.to_builtins(record),
        webhook_url=body.webhook_url,
        warnings=warnings,
        waits=mode.kind != "async",
    )
    return with_warnings(await answers.answer(served, job, mode), warnings)


def _stands_for_size(typo: str, data: Any) -> bool:
    return data.get(typo) is not None and data.get("aspect_ratios_selection") is None


def _is_numbered(data: Any) -> bool:
    return isinstance(data, dict) and any(f"cn_img{n}" in data or f"enhance_enabled_{n}" in data for n in range(1, 5))


def _lifted(data: Any) -> Any:
    """A body whose advanced settings stand in their object, as some clients send them beside it."""
    if not isinstance(data, dict):
        return data
    inner = data.get("advanced_params")
    beside = {name: data[name] for name in AdvancedParams.__struct_fields__ if name in data}
    if not beside or not isinstance(inner, dict | None):
        return data
    return {**data, "advanced_params": beside | (inner or {})}
