"""From Fooocus-API's words to the neutral ones: a decoded body becomes a GenerationRequest."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api import neutral
from api.contracts.fooocus_api.schemas import AdvancedParams, TextToImage
from api.neutral import given
from api.settings import Settings
from graphs.request import NO_EFFECT_ON_TEXT_TO_IMAGE, GenerationRequest
from graphs.sizes import parse_aspect_ratio

SCALERS = ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end")
NO_EFFECT_WITHOUT_REFINER = dict.fromkeys(("refiner_swap_method", "overwrite_switch"), "no refiner is asked for")
# Neutral field → the body's own field, for naming what was refused.
WIRE_NAMES: dict[str, tuple[str, ...]] = {
    "styles": ("style_selections",),
    "performance": ("performance_selection",),
    "aspect_ratio": ("aspect_ratios_selection",),
    "width": ("aspect_ratios_selection",),
    "height": ("aspect_ratios_selection",),
    "seed": ("image_seed",),
    "base_model": ("base_model_name",),
    "refiner_model": ("refiner_model_name",),
    "save_metadata": ("save_meta",),
    "metadata_scheme": ("meta_scheme",),
    "vae": ("advanced_params", "vae_name"),
    "sampler": ("advanced_params", "sampler_name"),
    "scheduler": ("advanced_params", "scheduler_name"),
    "freeu": ("advanced_params", "freeu_enabled"),
    "inpaint.mask": ("input_mask",),
    "inpaint.outpaint": ("outpaint_selections",),
    "inpaint.distances": ("outpaint_selections",),
    "inpaint.additional_prompt": ("inpaint_additional_prompt",),
    "inpaint.strength": ("advanced_params", "inpaint_strength"),
    "inpaint.respective_field": ("advanced_params", "inpaint_respective_field"),
    "inpaint.erode_or_dilate": ("advanced_params", "inpaint_erode_or_dilate"),
    "inpaint.engine": ("advanced_params", "inpaint_engine"),
    "preprocessing.canny_low": ("advanced_params", "canny_low_threshold"),
    "preprocessing.canny_high": ("advanced_params", "canny_high_threshold"),
    "preprocessing.softness": ("advanced_params", "controlnet_softness"),
    "enhance.image": ("enhance_input_image",),
    "enhance.stages": ("enhance_ctrlnets",),
    "enhance.uov_method": ("enhance_uov_method",),
    "enhance.uov_order": ("enhance_uov_processing_order",),
    "enhance.uov_prompt_type": ("enhance_uov_prompt_type",),
}
OF_PROMPTS = frozenset(
    {
        *("debugging_cn_preprocessor", "skipping_cn_preprocessor", "controlnet_softness"),
        *("canny_low_threshold", "canny_high_threshold"),
    }
)
OF_PROMPTS_AND_PICTURE = frozenset({"mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"})


class Flow(msgspec.Struct, frozen=True):
    """What a route makes. job_type: as the contract names it. uses: advanced settings that mean something here only."""

    name: str
    job_type: str
    uses: frozenset[str] = frozenset()


_STRENGTHS = frozenset({"overwrite_vary_strength", "overwrite_upscale_strength"})
_INPAINT = frozenset(
    {
        *("debugging_inpaint_preprocessor", "inpaint_disable_initial_latent", "inpaint_engine", "inpaint_strength"),
        *("inpaint_respective_field", "inpaint_mask_upload_checkbox", "invert_mask_checkbox"),
        "inpaint_erode_or_dilate",
    }
)
_STAGES = frozenset({"debugging_dino", "debugging_enhance_masks_checkbox", "dino_erode_or_dilate"})
TEXT_TO_IMAGE = Flow("text-to-image", "Text to Image")
UPSCALE_VARY = Flow("upscale and vary", "Image Upscale or Variation", _STRENGTHS)
INPAINT = Flow("inpainting", "Image Inpaint or Outpaint", _INPAINT)
IMAGE_PROMPT = Flow("image prompts", "Image Prompt", _INPAINT)
ENHANCE = Flow("enhancing", "Image Enhancement", _STRENGTHS | _STAGES)


def to_generation(
    body: TextToImage, settings: Settings, warnings: list[str], *, one_image: bool = False
) -> GenerationRequest:
    """Translate a body. The seed is settled here, so that the graph that follows is a pure value."""
    size = given(body.aspect_ratios_selection)
    width, height = parse_aspect_ratio(size) if size else (None, None)
    request = GenerationRequest(
        prompt=given(body.prompt),
        negative_prompt=given(body.negative_prompt),
        styles=given(body.style_selections),
        performance=given(body.performance_selection),
        width=width,
        height=height,
        image_number=1 if one_image else given(body.image_number),
        seed=body.image_seed,
        preset=given(body.preset) or None,
        sharpness=given(body.sharpness),
        guidance_scale=given(body.guidance_scale),
        base_model=given(body.base_model_name),
        refiner_model=given(body.refiner_model_name),
        refiner_switch=given(body.refiner_switch),
        loras=neutral.loras(body.loras),
        save_extension=given(body.save_extension),
        save_name=body.save_name,
        save_metadata=given(body.save_meta),
        metadata_scheme=given(body.meta_scheme),
        read_wildcards_in_order=body.read_wildcards_in_order,
        **neutral.advanced(body.advanced_params, {name: getattr(settings, name) for name in SCALERS}, warnings),
    )
    return request.seeded()


def without_effect(advanced: AdvancedParams, flow: Flow, request: GenerationRequest) -> list[str]:
    """One warning for every advanced setting that was changed and means nothing for this request."""
    plain = AdvancedParams()
    uses = set(flow.uses)
    if request.image_prompts:
        uses |= OF_PROMPTS | (OF_PROMPTS_AND_PICTURE if request.input_image else set())
    if (request.image_number or 1) > 1:
        uses.add("generate_image_grid")
    reasons = dict(NO_EFFECT_ON_TEXT_TO_IMAGE)
    if (request.refiner_model or "").strip().casefold() in ("", "none"):
        reasons |= NO_EFFECT_WITHOUT_REFINER
    return [
        f"advanced_params.{name} has no effect on {flow.name}: {reason}."
        for name, reason in reasons.items()
        if name in AdvancedParams.__struct_fields__
        and name not in uses
        and getattr(advanced, name) != getattr(plain, name)
    ]


def wire_name(field: str) -> Sequence[str | int]:
    """The way from the body to what a field of the neutral request was made of."""
    known: Any = WIRE_NAMES.get(field)
    if known is not None:
        return known
    return ("advanced_params", field) if field in AdvancedParams.__struct_fields__ else field.split(".")
