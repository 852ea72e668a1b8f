"""The tools beside the queue: a picture in words, a mask. Both REST contracts have these routes, and mean the same."""

import base64
from collections.abc import Callable
from typing import Any, TypeVar

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api import fields, forms, neutral, tools
from api.decode import decode
from api.errors import InvalidRequest
from api.images import encode, open_image
from api.input_images import read_image
from api.json_response import Json
from api.routing import both
from api.services import Services, services
from graphs.catalog import Catalog
from graphs.describe import describe
from graphs.masks import mask_of
from graphs.request import Refused

MASK_FIELDS = {
    "masking.model": "mask_model",
    "masking.prompt": "dino_prompt_text",
    "masking.cloth_category": "cloth_category",
    "masking.sam_model": "sam_model",
    "masking.box_threshold": "box_threshold",
    "masking.text_threshold": "text_threshold",
    "masking.max_detections": "sam_max_detections",
    "masking.dino_erode_or_dilate": "dino_erode_or_dilate",
}
Compiled = TypeVar("Compiled")


async def describe_image(request: Request) -> Response:
    """POST /v1/tools/describe-image → what the picture shows, in words."""
    served = services(request)
    data, _ = await forms.read_form_or_json(request, served.settings)
    asked = decode(fields.Describe, _with_query(data, request))
    image = await read_image(asked.image, ("body", "image"), served)
    graph, output = await _compiled(served, asked, lambda catalog: describe(image.stored, [asked.image_type], catalog))
    return Json({"describe": await tools.text_of(served, graph, output)})


async def generate_mask(request: Request) -> Response:
    """POST /v1/tools/generate_mask → the mask as base64 of a PNG, in a JSON string."""
    served = services(request)
    data, _ = await forms.read_form_or_json(request, served.settings)
    asked = decode(fields.GenerateMask, data)
    image = await read_image(asked.image, ("body", "image"), served)
    graph, output = await _compiled(served, asked, lambda cat: mask_of(image.stored, neutral.masking(asked), cat))
    return Json(await to_thread.run_sync(_plain_png, await tools.picture_of(served, graph, output)))


def _plain_png(data: bytes) -> str:
    """Base64 of a picture without what its file says of how it was made."""
    image = open_image(data)
    image.info = {}
    return base64.b64encode(encode(image, "image/png")).decode()


def _with_query(data: Any, request: Request) -> Any:
    """The body, with what the query says of the type in front of what the body says."""
    words = {name: value for name in ("image_type", "type") if (value := request.query_params.get(name))}
    if not words or not isinstance(data, dict):
        return data
    rest = {name: value for name, value in data.items() if name not in ("image_type", "type")}
    return rest | words


async def _compiled(served: Services, asked: Any, compile: Callable[[Catalog], Compiled]) -> Compiled:
    try:
        return await to_thread.run_sync(compile, served.library.catalog)
    except Refused as refused:
        raise _named(refused, asked) from refused


def _named(refused: Refused, asked: Any) -> InvalidRequest:
    return neutral.refused_field(refused, asked, (MASK_FIELDS.get(refused.field, refused.field),))


def routes() -> list[BaseRoute]:
    return [
        *both("/v1/tools/describe-image", describe_image, "POST"),
        *both("/v1/tools/generate_mask", generate_mask, "POST"),
    ]
