"""Jobs that came by another contract as requests of FooocusAPI, to be sent to /v1/engine/generate/ again."""

from typing import Any

import msgspec

from api import said
from api.contracts.fooocusapi.schemas import CommonRequest, Lora
from api.contracts.fooocusapi.translate import ENHANCE, INPAINT, PROMPTED, UOV, Flow
from api.fields import ImagePrompt
from graphs.request import GenerationRequest
from graphs.request_parts import Enhance, Inpaint, InputImage
from graphs.uov import CUSTOM, DEFAULT_FACTOR, DISABLED


def common_params(request: GenerationRequest) -> dict[str, Any]:
    """A settled request as plain data of a CommonRequest; pictures by the names under which they are stored."""
    varies, repaints = said.varies(request), said.repaints(request)
    inpaint, enhance = request.inpaint or Inpaint(), request.enhance
    words: dict[str, Any] = {
        **said.advanced(request),
        "prompt": request.prompt or "",
        "negative_prompt": request.negative_prompt or "",
        "style_selections": list(request.styles or ()),
        "performance_selection": request.performance,
        "aspect_ratios_selection": f"{request.width}*{request.height}",
        "image_number": request.image_number or 1,
        "output_format": request.save_extension or "png",
        "image_seed": -1 if request.seed is None else request.seed,
        "read_wildcards_in_order": request.read_wildcards_in_order,
        "sharpness": request.sharpness,
        "guidance_scale": request.guidance_scale,
        "base_model_name": request.base_model,
        "refiner_model_name": request.refiner_model,
        "refiner_switch": request.refiner_switch,
        "loras": [Lora(lora.name, lora.enabled, lora.weight) for lora in request.loras or ()],
        "current_tab": _flow(request).tab,
        "uov_method": request.uov_method if varies else DISABLED,
        "uov_input_image": "" if repaints else _name(request.input_image),
        "upscale_multiple": request.upscale_value or (DEFAULT_FACTOR if request.uov_method == CUSTOM else 1.0),
        "inpaint_input_image": _name(request.input_image) if repaints else "",
        "inpaint_mask_image_upload": inpaint.mask or "",
        "inpaint_additional_prompt": inpaint.additional_prompt,
        "outpaint_selections": [side.strip().capitalize() for side in inpaint.outpaint],
        "outpaint_distance": list(inpaint.distances),
        "controlnet_image": [
            ImagePrompt(prompt.image.name, prompt.stop, prompt.weight, prompt.type) for prompt in request.image_prompts
        ],
        "save_metadata_to_images": bool(request.save_metadata),
        "metadata_scheme": request.metadata_scheme or "fooocus",
        "save_name": request.save_name,
        **(_enhance(enhance) if enhance else {}),
    }
    return msgspec.to_builtins(CommonRequest(**words))


def _enhance(enhance: Enhance) -> dict[str, Any]:
    return {
        "enhance_input_image": _name(enhance.image),
        "enhance_checkbox": True,
        "enhance_uov_method": enhance.uov_method,
        "enhance_uov_processing_order": enhance.uov_order,
        "enhance_uov_prompt_type": enhance.uov_prompt_type,
        "enhance_ctrls": said.stages(enhance.stages),
        "save_final_enhanced_image_only": enhance.save_final_only,
    }


def _flow(request: GenerationRequest) -> Flow:
    if request.enhance is not None and request.enhance.image is not None:
        return ENHANCE
    if request.image_prompts:
        return PROMPTED
    return INPAINT if said.repaints(request) else UOV


def _name(picture: InputImage | None) -> str:
    return picture.name if picture is not None else ""
