"""From Fooocus-API's words to the neutral ones: a decoded body becomes a GenerationRequest."""

from collections.abc import Sequence
from typing import Any

from api import neutral
from api.contracts.fooocus_api.schemas import AdvancedParams, TextToImage
from api.neutral import given
from api.settings import Settings
from graphs.request import GenerationRequest
from graphs.sizes import parse_aspect_ratio

SCALERS = ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end")
# What a route makes, as the contract names it.
TEXT_TO_IMAGE = "Text to Image"
UPSCALE_VARY = "Image Upscale or Variation"
INPAINT = "Image Inpaint or Outpaint"
IMAGE_PROMPT = "Image Prompt"
ENHANCE = "Image Enhancement"
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


def wire_name(field: str) -> Sequence[str | int]:
    """The way from the body to what a field of the neutral request was made of."""
    known: Any = WIRE_NAMES.get(field)
    if known is not None:
        return known
    return ("advanced_params", field) if field in AdvancedParams.__struct_fields__ else field.split(".")
