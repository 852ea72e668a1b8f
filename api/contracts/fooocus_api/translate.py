"""From Fooocus-API's words to the neutral ones: a decoded body becomes a GenerationRequest."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from api.contracts.fooocus_api.schemas import AdvancedParams, TextToImage
from api.errors import Fault, InvalidRequest, shown
from api.settings import Settings
from graphs.request import NO_EFFECT_ON_TEXT_TO_IMAGE, FreeU, GenerationRequest, Lora, Refused
from graphs.sizes import parse_aspect_ratio

# A refiner that could be switched to is refused (graphs.resolve), so what steers the switch has nothing to steer.
NO_EFFECT_WITHOUT_REFINER = {
    "refiner_swap_method": "there is no refiner yet",
    "overwrite_switch": "there is no refiner yet",
}
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
}


class Flow(msgspec.Struct, frozen=True):
    """What a route makes. job_type: as the contract names it. uses: advanced settings that mean something here only."""

    name: str
    job_type: str
    uses: frozenset[str] = frozenset()


TEXT_TO_IMAGE = Flow("text-to-image", "Text to Image")
UPSCALE_VARY = Flow(
    "upscale and vary",
    "Image Upscale or Variation",
    frozenset({"overwrite_vary_strength", "overwrite_upscale_strength"}),
)
INPAINT = Flow(
    "inpainting",
    "Image Inpaint or Outpaint",
    frozenset(
        {
            "debugging_inpaint_preprocessor",
            "inpaint_disable_initial_latent",
            "inpaint_engine",
            "inpaint_strength",
            "inpaint_respective_field",
            "inpaint_mask_upload_checkbox",
            "invert_mask_checkbox",
            "inpaint_erode_or_dilate",
        }
    ),
)


def given(value: Any) -> Any:
    """None for a field that was not given."""
    return None if isinstance(value, UnsetType) else value


def to_generation(body: TextToImage, settings: Settings, *, one_image: bool = False) -> GenerationRequest:
    """Translate a body. The seed is settled here, so that the graph that follows is a pure value."""
    size = given(body.aspect_ratios_selection)
    width, height = parse_aspect_ratio(size) if size else (None, None)
    advanced = body.advanced_params
    request = GenerationRequest(
        prompt=given(body.prompt),
        negative_prompt=given(body.negative_prompt),
        styles=given(body.style_selections),
        performance=given(body.performance_selection),
        width=width,
        height=height,
        image_number=1 if one_image else given(body.image_number),
        seed=body.image_seed,
        sharpness=given(body.sharpness),
        guidance_scale=given(body.guidance_scale),
        base_model=given(body.base_model_name),
        refiner_model=given(body.refiner_model_name),
        refiner_switch=given(body.refiner_switch),
        loras=_loras(body),
        save_extension=body.save_extension,
        save_name=body.save_name,
        save_metadata=body.save_meta,
        metadata_scheme=body.meta_scheme,
        read_wildcards_in_order=body.read_wildcards_in_order,
        **_advanced(advanced, settings),
    )
    return request.seeded()


def _loras(body: TextToImage) -> list[Lora] | None:
    if isinstance(body.loras, UnsetType):
        return None
    return [Lora(lora.model_name, lora.weight, lora.enabled) for lora in body.loras]


def _advanced(advanced: AdvancedParams, settings: Settings) -> dict[str, Any]:
    scaler = {
        name: getattr(settings, name) if getattr(advanced, name) is UNSET else getattr(advanced, name)
        for name in ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end")
    }
    freeu = FreeU(advanced.freeu_b1, advanced.freeu_b2, advanced.freeu_s1, advanced.freeu_s2)
    return {
        **scaler,
        "refiner_swap_method": advanced.refiner_swap_method,
        "adaptive_cfg": given(advanced.adaptive_cfg),
        "clip_skip": given(advanced.clip_skip),
        "sampler": given(advanced.sampler_name),
        "scheduler": given(advanced.scheduler_name),
        "vae": given(advanced.vae_name),
        "overwrite_step": advanced.overwrite_step if advanced.overwrite_step > 0 else None,
        "overwrite_switch": advanced.overwrite_switch if advanced.overwrite_switch > 0 else None,
        "overwrite_width": advanced.overwrite_width,
        "overwrite_height": advanced.overwrite_height,
        "freeu": freeu if advanced.freeu_enabled else None,
        "disable_preview": advanced.disable_preview,
        "disable_seed_increment": advanced.disable_seed_increment,
        "black_out_nsfw": advanced.black_out_nsfw,
    }


def without_effect(advanced: AdvancedParams, flow: Flow = TEXT_TO_IMAGE) -> list[str]:
    """One warning for every advanced setting that was changed and means nothing for this flow."""
    plain = AdvancedParams()
    return [
        f"advanced_params.{name} has no effect on {flow.name}: {reason}."
        for name, reason in (NO_EFFECT_ON_TEXT_TO_IMAGE | NO_EFFECT_WITHOUT_REFINER).items()
        if name in AdvancedParams.__struct_fields__
        and name not in flow.uses
        and getattr(advanced, name) != getattr(plain, name)
    ]


def refused_field(refused: Refused, body: TextToImage) -> InvalidRequest:
    """Name the body's own field for what the builder refused."""
    wire = WIRE_NAMES.get(refused.field)
    if wire is None:
        wire = ("advanced_params", refused.field) if hasattr(AdvancedParams, refused.field) else (refused.field,)
    value: Any = body
    for name in wire:
        value = getattr(value, name, None)
    sent = None if isinstance(value, UnsetType) else msgspec.to_builtins(value)
    msg = f"Value error, {refused.message} {refused.hint}".strip()
    return InvalidRequest([Fault("value_error", ("body", *wire), msg, shown(sent), {"error": refused.message})])
