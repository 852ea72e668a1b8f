"""From Fooocus-API's words to the neutral ones, for requests with pictures.

Which flow a request with several pictures means follows from what is there: a picture and image prompts are mixed, as
the originals do by themselves (API contract §9.2).
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from api import neutral
from api.contracts.fooocus_api import image_schemas as schemas
from api.contracts.fooocus_api.schemas import TextToImage
from api.contracts.fooocus_api.translate import to_generation, wire_name
from api.errors import InvalidRequest
from api.fields import EnhanceStage, ImagePrompt
from api.input_images import Reader, ReadImage, is_absent
from api.neutral import given
from api.services import Services
from api.settings import Settings
from graphs.request import GenerationRequest, Refused
from graphs.request_parts import Enhance
from graphs.uov import DISABLED

LIST_NUMBERS = (0.5, 1.0)  # stop and weight of a plain image prompt in version 2 that says neither
FORM_NUMBERS = (0.6, 0.6)  # and in version 1


class Pictures(Struct, frozen=True, kw_only=True):
    """What was sent, stored in the input folder. prompts: at most four, with the numbers for what they leave open."""

    input: ReadImage | None = None
    mask: ReadImage | None = None
    enhance: ReadImage | None = None
    prompts: Sequence[tuple[ImagePrompt, ReadImage, tuple[float, float]]] = ()


def refused_field(refused: Refused, body: Any) -> InvalidRequest:
    """Name the body's own field for what the builder refused."""
    stage = neutral.stage_field(refused.field, sent_stages(body)) if isinstance(body, schemas.Enhanced) else None
    if stage is None:
        return neutral.refused_field(refused, body, wire_name(refused.field))
    index, name = stage
    listed = hasattr(body, "enhance_ctrlnets")
    return neutral.refused_field(
        refused, body, ("enhance_ctrlnets", index, name) if listed else (f"{name}_{index + 1}",)
    )


async def read_pictures(body: TextToImage, served: Services, required: Sequence[str]) -> Pictures:
    """Read every picture of a body. required: fields that must hold one. Raises InvalidRequest with all faults."""
    reader = Reader(served)

    async def field(name: str, *, mask: bool = False) -> ReadImage | None:
        return await reader.read(getattr(body, name, None), ("body", name), mask=mask, required=name in required)

    pictures = Pictures(
        input=await field("input_image"),
        mask=await field("input_mask", mask=True),
        enhance=await field("enhance_input_image"),
        prompts=await _prompts(body, reader),
    )
    reader.check()
    return pictures


def to_text_to_image(
    body: TextToImage, pictures: Pictures, settings: Settings, warnings: list[str], *, one_image: bool
) -> GenerationRequest:
    """Text to image, with image prompts or without."""
    request = to_generation(body, settings, warnings, one_image=one_image)
    return replace(request, image_prompts=_steering(pictures))


def to_upscale_vary(
    body: Any, pictures: Pictures, settings: Settings, warnings: list[str], *, one_image: bool
) -> GenerationRequest:
    """Vary or upscale the input picture."""
    if body.uov_method == DISABLED:
        warnings.append("uov_method is Disabled: the picture is not used, only the prompt.")
    return replace(
        to_text_to_image(body, pictures, settings, warnings, one_image=one_image),
        input_image=_stored(pictures.input),
        uov_method=body.uov_method,
        upscale_value=given(body.upscale_value),
    )


def to_inpaint(
    body: Any, pictures: Pictures, settings: Settings, warnings: list[str], *, one_image: bool
) -> GenerationRequest:
    """Repaint or extend the input picture; without one it is text to image."""
    request = to_text_to_image(body, pictures, settings, warnings, one_image=one_image)
    if pictures.input is None:
        return request
    distances = tuple(getattr(body, f"outpaint_distance_{side}") for side in ("left", "top", "right", "bottom"))
    prompt = body.inpaint_additional_prompt
    sides = body.outpaint_selections
    inpaint = neutral.inpaint(body.advanced_params, pictures.mask, sides, distances, prompt, warnings)
    return replace(request, input_image=_stored(pictures.input), inpaint=inpaint)


def to_enhance(
    body: Any, pictures: Pictures, settings: Settings, warnings: list[str], *, one_image: bool
) -> GenerationRequest:
    """Enhance the picture given; the stages that are switched off are left out."""
    is_on = body.enhance_checkbox
    stages = sent_stages(body) if is_on else []
    if not is_on:
        warnings.append("enhance_checkbox is false: nothing is enhanced.")
    enhance = Enhance(
        image=_stored(pictures.enhance),
        stages=neutral.enhance_stages(stages, body.advanced_params, warnings),
        uov_method=body.enhance_uov_method if is_on else DISABLED,
        uov_order=body.enhance_uov_processing_order,
        uov_prompt_type=body.enhance_uov_prompt_type,
        save_final_only=body.save_final_enhanced_image_only,
        show_masks=body.advanced_params.debugging_enhance_masks_checkbox,
    )
    return replace(to_generation(body, settings, warnings, one_image=one_image), enhance=enhance)


def sent_stages(body: Any) -> list[EnhanceStage]:
    """The stages of a body, from its list or its numbered fields."""
    if hasattr(body, "enhance_ctrlnets"):
        return list(body.enhance_ctrlnets[: len(schemas.STAGES)])
    return [
        EnhanceStage(**{name: getattr(body, f"{name}_{n}") for name in schemas.STAGE_FIELDS}) for n in schemas.STAGES
    ]


def _stored(image: ReadImage | None) -> Any:
    return image.stored if image is not None else None


def _steering(pictures: Pictures) -> list[Any]:
    return [
        made
        for prompt, image, numbers in pictures.prompts
        for made in neutral.image_prompts([(prompt, image.stored)], numbers)
    ]


async def _prompts(body: Any, reader: Reader) -> list[tuple[ImagePrompt, ReadImage, tuple[float, float]]]:
    """Those that have a picture; of the list and the numbered fields, the first four."""
    listed = getattr(body, "image_prompts", [])
    sent = [slot for slot in (*_numbered(body), *_listed(listed)) if not is_absent(slot[0].cn_img)]
    found = [
        (prompt, await reader.read(prompt.cn_img, loc), numbers) for prompt, loc, numbers in sent[: len(schemas.SLOTS)]
    ]
    return [(prompt, image, numbers) for prompt, image, numbers in found if image is not None]


def _listed(prompts: Sequence[ImagePrompt]) -> list[tuple[ImagePrompt, Any, tuple[float, float]]]:
    return [(prompt, ("body", "image_prompts", n, "cn_img"), LIST_NUMBERS) for n, prompt in enumerate(prompts)]


def _numbered(body: Any) -> list[tuple[ImagePrompt, Any, tuple[float, float]]]:
    """The form's fields cn_img1 and so on; a list without pictures beside them says how each is to act."""
    if not hasattr(body, "cn_img1"):
        return []
    configured = body.image_prompts
    slots = []
    for n in schemas.SLOTS:
        own = {name: getattr(body, f"{name}{n}") for name in schemas.SLOT_FIELDS}
        prompt = ImagePrompt(**own)
        if n <= len(configured) and is_absent(configured[n - 1].cn_img):
            prompt = _filled(prompt, configured[n - 1])
        slots.append((prompt, ("body", f"cn_img{n}"), FORM_NUMBERS))
    return slots


def _filled(prompt: ImagePrompt, other: ImagePrompt) -> ImagePrompt:
    """What a prompt leaves open, taken from another."""
    plain = ImagePrompt()
    names = [name for name in schemas.SLOT_FIELDS if getattr(prompt, name) == getattr(plain, name)]
    return replace(prompt, **{name: getattr(other, name) for name in names})
