"""The routes of Fooocus-API that start from a picture. Each takes JSON and forms, whichever its version promises."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api import forms
from api.contracts.fooocus_api import answers
from api.contracts.fooocus_api.image_schemas import Inpaint, UpscaleVary, UpscaleVaryForm, WithImage
from api.contracts.fooocus_api.submit import check_room, submit
from api.contracts.fooocus_api.translate import INPAINT, UPSCALE_VARY
from api.contracts.fooocus_api.translate_images import to_inpaint, to_upscale_vary
from api.decode import decode
from api.errors import Fault, InvalidRequest
from api.input_images import is_absent, read_image
from api.json_response import Json
from api.routing import both
from api.services import services
from api.warning_header import with_warnings

MISSING: dict[str, str] = {
    "/v1/generation/image-prompt": "Image prompts",
    "/v2/generation/image-prompt": "Image prompts",
    "/v2/generation/text-to-image-with-ip": "Image prompts",
    "/v1/generation/image-enhance": "Enhancing",
    "/v2/generation/image-enhance": "Enhancing",
    "/v1/tools/describe-image": "Describing pictures",
    "/v1/tools/generate_mask": "Making masks from words",
}
"""Routes of the contract that are not there yet, and what they would do."""


async def upscale_vary(request: Request) -> Response:
    """POST /v2/generation/image-upscale-vary → a picture varied or enlarged."""
    served = services(request)
    data, is_form = await forms.read_form_or_json(request, served.settings)
    body = decode(UpscaleVaryForm if is_form else UpscaleVary, data)
    mode = answers.mode_of(request, async_process=body.async_process)
    check_room(served)
    _refuse_image_prompts(body, data)
    image = await read_image(body.input_image, ("body", "input_image"), served)
    asked, warnings = to_upscale_vary(body, served.settings, image.stored, one_image=mode.kind == "binary")
    body = replace(body, input_image=image.stored.name, image_prompts=UNSET)
    job, warnings = await submit(served, body, asked, mode, UPSCALE_VARY, warnings)
    return with_warnings(await answers.answer(served, job, mode), warnings)


async def inpaint_outpaint(request: Request) -> Response:
    """POST /v2/generation/image-inpaint-outpaint → a picture repainted where the mask is white, or extended."""
    served = services(request)
    data, _ = await forms.read_form_or_json(request, served.settings)
    if isinstance(data, dict) and isinstance(sides := data.get("outpaint_selections"), str):
        data["outpaint_selections"] = [sides]
    body = decode(Inpaint, data)
    mode = answers.mode_of(request, async_process=body.async_process)
    check_room(served)
    _refuse_image_prompts(body, data)
    image = await read_image(body.input_image, ("body", "input_image"), served)
    mask = None
    if not is_absent(body.input_mask):
        mask = await read_image(body.input_mask, ("body", "input_mask"), served, mask=True)
    asked, warnings = to_inpaint(body, served.settings, image.stored, mask, one_image=mode.kind == "binary")
    name = mask.stored.name if mask is not None else None
    body = replace(body, input_image=image.stored.name, input_mask=name, image_prompts=UNSET)
    job, warnings = await submit(served, body, asked, mode, INPAINT, warnings)
    return with_warnings(await answers.answer(served, job, mode), warnings)


async def not_there_yet(request: Request) -> Response:
    """501 and a sentence, for a route of the contract that is not there yet."""
    what = MISSING[request.url.path.rstrip("/")]
    return Json({"detail": f"{what}: not implemented by this server yet."}, 501)


def _refuse_image_prompts(body: WithImage, data: Any) -> None:
    """Pictures that would steer the result and cannot yet are refused rather than left out."""
    prompts = body.image_prompts if isinstance(body.image_prompts, list) else []
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, Mapping) and not is_absent(prompt.get("cn_img")):
            raise _no_image_prompts(("body", "image_prompts", index, "cn_img"))
    for number in range(1, 5):
        if not is_absent(data.get(f"cn_img{number}")):
            raise _no_image_prompts(("body", f"cn_img{number}"))


def _no_image_prompts(loc: tuple[str | int, ...]) -> InvalidRequest:
    cause = "image prompts are not implemented by this server yet; leave them out"
    return InvalidRequest([Fault("value_error", loc, f"Value error, {cause}", ctx={"error": cause})])


def routes() -> list[BaseRoute]:
    """Both versions of each path, with and without a trailing slash; `inpait` is how older documents spell it."""
    there = {
        "image-upscale-vary": upscale_vary,
        "image-inpaint-outpaint": inpaint_outpaint,
        "image-inpait-outpaint": inpaint_outpaint,
    }
    paths = {f"/{version}/generation/{name}": door for name, door in there.items() for version in ("v1", "v2")}
    paths |= dict.fromkeys(MISSING, not_there_yet)
    return [route for path, door in paths.items() for route in both(path, door, "POST")]
