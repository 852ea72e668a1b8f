"""A request in the words of the persistent history: what was asked and, where it was left open, what was settled."""

from typing import Any

import msgspec

from api.contracts.fooocus_api.schemas import TextToImage
from api.contracts.fooocus_api.translate_images import Pictures
from api.neutral import given
from graphs.request import GenerationRequest
from graphs.resolve import Generation

NO_PART_OF_IT = frozenset({"save_meta", "webhook_url", "async_process", "image_prompts", "loras", "image_seed"})


def history_params(
    body: TextToImage, asked: GenerationRequest, generation: Generation, pictures: Pictures
) -> dict[str, Any]:
    """The keys of API contract §3.4; pictures by the names under which they are stored."""
    settled: dict[str, Any] = {
        "prompt": generation.prompt,
        "negative_prompt": generation.negative,
        "style_selections": list(generation.styles),
        "performance_selection": generation.performance,
        "aspect_ratios_selection": f"{generation.width}*{generation.height}",
        "base_model_name": generation.checkpoint,
        "refiner_model_name": "None",
        "refiner_switch": generation.refiner_switch,
        "loras": [[lora.enabled, lora.name, lora.weight] for lora in asked.loras or generation.loras],
        "image_number": generation.image_number,
        "image_seed": str(asked.seed),
        "sharpness": generation.sharpness,
        "guidance_scale": generation.guidance_scale,
        "advanced_params": msgspec.to_builtins(body.advanced_params),
        "input_image": _name(pictures.input or pictures.enhance),
        "input_mask": _name(pictures.mask),
        "image_prompts": [[made.stop, made.weight, made.type] for made in asked.image_prompts],
        "inpaint_additional_prompt": "",
        "outpaint_selections": [],
        **{f"outpaint_distance_{side}": 0 for side in ("left", "right", "top", "bottom")},
        "uov_method": asked.uov_method,
        "upscale_value": asked.upscale_value,
        "webhook_url": None,
        "require_base64": body.require_base64,
        "async_process": None,
    }
    return settled | {
        name: msgspec.to_builtins(value)
        for name in settled
        if name in body.__struct_fields__
        and name not in NO_PART_OF_IT
        and not name.startswith("input_")
        and (value := given(getattr(body, name))) is not None
    }


def _name(picture: Any) -> str | None:
    return picture.stored.name if picture is not None else None
