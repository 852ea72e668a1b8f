"""The routes of Fooocus-API that start from a picture. Each takes JSON and forms, whichever its version promises."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api.contracts.fooocus_api import image_schemas as schemas
from api.contracts.fooocus_api.submit import Door, generate
from api.contracts.fooocus_api.translate import ENHANCE, IMAGE_PROMPT, INPAINT, TEXT_TO_IMAGE, UPSCALE_VARY
from api.contracts.fooocus_api.translate_images import to_enhance, to_inpaint, to_text_to_image, to_upscale_vary
from api.routing import both

UPSCALE_VARY_DOOR = Door(
    UPSCALE_VARY, to_upscale_vary, schemas.UpscaleVary, schemas.UpscaleVaryForm, pictures=("input_image",)
)
INPAINT_DOOR = Door(INPAINT, to_inpaint, schemas.Inpaint, schemas.InpaintForm, pictures=("input_image",))
IMAGE_PROMPT_DOOR = Door(IMAGE_PROMPT, to_inpaint, schemas.PromptedInpaint, schemas.PromptForm)
PROMPTED_TEXT_DOOR = Door(TEXT_TO_IMAGE, to_text_to_image, schemas.Prompted, schemas.PromptForm)
ENHANCE_DOOR = Door(ENHANCE, to_enhance, schemas.Enhance, schemas.EnhanceForm)


async def upscale_vary(request: Request) -> Response:
    """POST /v2/generation/image-upscale-vary → a picture varied or enlarged."""
    return await generate(request, UPSCALE_VARY_DOOR)


async def inpaint_outpaint(request: Request) -> Response:
    """POST /v2/generation/image-inpaint-outpaint → a picture repainted where the mask is white, or extended."""
    return await generate(request, INPAINT_DOOR)


async def image_prompt(request: Request) -> Response:
    """POST /v2/generation/image-prompt → a picture steered by others, from text or by repainting one."""
    return await generate(request, IMAGE_PROMPT_DOOR)


async def text_to_image_with_prompts(request: Request) -> Response:
    """POST /v2/generation/text-to-image-with-ip → a picture from text, steered by others."""
    return await generate(request, PROMPTED_TEXT_DOOR)


async def enhance(request: Request) -> Response:
    """POST /v2/generation/image-enhance → a picture whose parts were found by words or networks and repainted."""
    return await generate(request, ENHANCE_DOOR)


def routes() -> list[BaseRoute]:
    """Both versions of each path, with and without a trailing slash; `inpait` is how older documents spell it."""
    doors = {
        "image-upscale-vary": upscale_vary,
        "image-inpaint-outpaint": inpaint_outpaint,
        "image-inpait-outpaint": inpaint_outpaint,
        "image-prompt": image_prompt,
        "image-enhance": enhance,
    }
    paths = {f"/{version}/generation/{name}": door for name, door in doors.items() for version in ("v1", "v2")}
    paths["/v2/generation/text-to-image-with-ip"] = text_to_image_with_prompts
    return [route for path, door in paths.items() for route in both(path, door, "POST")]
