"""Which advanced settings mean nothing for a request: each that was changed all the same is named in a warning."""

from collections.abc import Mapping

from api import said
from api.fields import Advanced
from graphs.request import GenerationRequest
from graphs.resolve import Generation

VARYING, PROMPTING, PAINTING, MASKING = "vary and upscale", "image prompts", "inpaint", "enhance stages"
MIXING, SWITCHING = "image prompts beside another picture", "a refiner or an inpaint engine"
# Advanced setting → what it is about. Those that are not here act on every picture.
ABOUT: Mapping[str, str] = {
    **dict.fromkeys(("overwrite_vary_strength", "overwrite_upscale_strength"), VARYING),
    **dict.fromkeys(("mixing_image_prompt_and_vary_upscale", "mixing_image_prompt_and_inpaint"), MIXING),
    **dict.fromkeys(
        (
            *("debugging_cn_preprocessor", "skipping_cn_preprocessor", "controlnet_softness"),
            *("canny_low_threshold", "canny_high_threshold"),
        ),
        PROMPTING,
    ),
    **dict.fromkeys(
        (
            *("debugging_inpaint_preprocessor", "inpaint_disable_initial_latent", "inpaint_engine", "inpaint_strength"),
            *("inpaint_respective_field", "inpaint_mask_upload_checkbox", "invert_mask_checkbox"),
            "inpaint_erode_or_dilate",
        ),
        PAINTING,
    ),
    **dict.fromkeys(("debugging_dino", "debugging_enhance_masks_checkbox", "dino_erode_or_dilate"), MASKING),
    "refiner_swap_method": "a refiner",
    "overwrite_switch": SWITCHING,
    "generate_image_grid": "several pictures",
}
NEVER: Mapping[str, str] = {"disable_intermediate_results": "results are reported when the job ends"}


def without_effect(sent: Advanced, generation: Generation, asked: GenerationRequest, prefix: str = "") -> list[str]:
    """One warning for every changed setting that a request has no use for. prefix: of the fields' names."""
    plain = type(sent)()
    useful = _about(generation, asked)
    reasons = {name: f"it is about {what}" for name, what in ABOUT.items() if what not in useful} | dict(NEVER)
    return [
        f"{prefix}{name} has no effect on this request: {why}."
        for name, why in reasons.items()
        if getattr(sent, name) != getattr(plain, name)
    ]


def _about(generation: Generation, request: GenerationRequest) -> set[str]:
    """What a request is about."""
    enhance = request.enhance
    answers = {
        VARYING: said.varies(request) or enhance is not None,
        PAINTING: said.repaints(request),
        PROMPTING: bool(request.image_prompts),
        MIXING: bool(request.image_prompts) and request.input_image is not None,
        MASKING: enhance is not None,
        "a refiner": generation.refiner is not None,
        SWITCHING: generation.overwrite_switch > 0,
        "several pictures": generation.image_number > 1 or enhance is not None,
    }
    return {what for what, is_so in answers.items() if is_so}
