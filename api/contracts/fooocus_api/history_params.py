"""A job's request in the words of the persistent history, whichever contract the job came by (API contract §3.4)."""

from typing import Any

from api import said
from graphs.inpaint_choice import SIDES
from graphs.request import GenerationRequest
from graphs.request_parts import Inpaint, InputImage

Params = dict[str, Any]


def history_params(request: GenerationRequest, *, require_base64: bool = False) -> Params:
    """The contract's keys for a settled request; pictures by the names under which they are stored."""
    inpaint = request.inpaint or Inpaint()
    own = request.enhance.image if request.enhance else None
    distances = dict(zip(SIDES, inpaint.distances, strict=True))
    return {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "style_selections": request.styles,
        "performance_selection": request.performance,
        "aspect_ratios_selection": f"{request.width}*{request.height}",
        "base_model_name": request.base_model,
        "refiner_model_name": request.refiner_model,
        "refiner_switch": request.refiner_switch,
        "loras": [[lora.enabled, lora.name, lora.weight] for lora in request.loras or ()],
        "image_number": request.image_number,
        "image_seed": str(request.seed),
        "sharpness": request.sharpness,
        "guidance_scale": request.guidance_scale,
        "advanced_params": said.advanced(request),
        "input_image": _name(request.input_image or own),
        "input_mask": inpaint.mask,
        "image_prompts": [[prompt.stop, prompt.weight, prompt.type] for prompt in request.image_prompts],
        "inpaint_additional_prompt": inpaint.additional_prompt,
        "outpaint_selections": [side.strip().capitalize() for side in inpaint.outpaint],
        **{f"outpaint_distance_{side}": distances[side] for side in ("left", "right", "top", "bottom")},
        "uov_method": request.uov_method,
        "upscale_value": request.upscale_value,
        "webhook_url": None,
        "require_base64": require_base64,
        "async_process": None,
    }


def _name(picture: InputImage | None) -> str | None:
    return picture.name if picture is not None else None
