"""From the neutral request back to the words that both contracts share: the other way round than `api.neutral`."""

from collections.abc import Sequence
from typing import Any

from api.fields import Advanced, EnhanceStage
from api.neutral import DEFAULT_ENGINE
from graphs import request_parts as parts
from graphs.request import GenerationRequest

PLAIN_FREEU = parts.FreeU()


def advanced(request: GenerationRequest) -> dict[str, Any]:
    """Every field of `api.fields.Advanced`, but for what a request that names its flow has no word for."""
    freeu, inpaint, enhance = request.freeu or PLAIN_FREEU, request.inpaint or parts.Inpaint(), request.enhance
    stage = enhance.stages[0] if enhance and enhance.stages else parts.EnhanceStage()
    said = {
        "sampler_name": request.sampler,
        "scheduler_name": request.scheduler,
        "vae_name": request.vae,
        "overwrite_step": request.overwrite_step or -1,
        "overwrite_switch": request.overwrite_switch or -1,
        "freeu_enabled": request.freeu is not None,
        **{f"freeu_{name}": getattr(freeu, name) for name in ("b1", "b2", "s1", "s2")},
        "canny_low_threshold": request.preprocessing.canny_low,
        "canny_high_threshold": request.preprocessing.canny_high,
        "controlnet_softness": request.preprocessing.softness,
        "skipping_cn_preprocessor": request.preprocessing.skip,
        "debugging_cn_preprocessor": request.preprocessing.debug,
        "inpaint_engine": inpaint.engine or DEFAULT_ENGINE,
        "inpaint_strength": inpaint.strength,
        "inpaint_respective_field": inpaint.respective_field,
        "inpaint_erode_or_dilate": inpaint.erode_or_dilate,
        "inpaint_disable_initial_latent": inpaint.disable_initial_latent,
        "invert_mask_checkbox": inpaint.invert_mask,
        "debugging_inpaint_preprocessor": inpaint.debug,
        "debugging_dino": stage.masking.debug,
        "dino_erode_or_dilate": stage.masking.dino_erode_or_dilate,
        "debugging_enhance_masks_checkbox": bool(enhance and enhance.show_masks),
        "inpaint_mask_upload_checkbox": inpaint.mask is not None,
        "mixing_image_prompt_and_vary_upscale": bool(request.image_prompts) and varies(request),
        "mixing_image_prompt_and_inpaint": bool(request.image_prompts) and repaints(request),
    }
    same = (name for name in Advanced.__struct_fields__ if name not in said and hasattr(request, name))
    return said | {name: getattr(request, name) for name in same}


def varies(request: GenerationRequest) -> bool:
    """Whether the request varies or upscales its picture."""
    return request.input_image is not None and request.uov_method.casefold() not in ("", "none", "disable", "disabled")


def repaints(request: GenerationRequest) -> bool:
    """Whether it repaints or extends its picture."""
    return request.inpaint is not None and not varies(request)


def stages(sent: Sequence[parts.EnhanceStage]) -> list[EnhanceStage]:
    """The stages of enhancing; each is switched on."""
    return [
        EnhanceStage(
            enhance_enabled=True,
            enhance_mask_dino_prompt=stage.masking.prompt,
            enhance_prompt=stage.prompt,
            enhance_negative_prompt=stage.negative_prompt,
            enhance_mask_model=stage.masking.model,  # type: ignore[arg-type]
            enhance_mask_cloth_category=stage.masking.cloth_category,  # type: ignore[arg-type]
            enhance_mask_sam_model=stage.masking.sam_model,  # type: ignore[arg-type]
            enhance_mask_text_threshold=stage.masking.text_threshold,
            enhance_mask_box_threshold=stage.masking.box_threshold,
            enhance_mask_sam_max_detections=stage.masking.max_detections,
            enhance_inpaint_disable_initial_latent=stage.disable_initial_latent,
            enhance_inpaint_engine=stage.engine or DEFAULT_ENGINE,
            enhance_inpaint_strength=stage.strength,
            enhance_inpaint_respective_field=stage.respective_field,
            enhance_inpaint_erode_or_dilate=stage.erode_or_dilate,
            enhance_mask_invert=stage.invert_mask,
        )
        for stage in sent
    ]
