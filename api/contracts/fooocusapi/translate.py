"""From FooocusAPI's flat body to the neutral request. The pictures decide which flow it is.

The order is enhance > ip > uov > inpaint. The tab `ip` takes the picture of another one along where its mixing flag
says so (API contract §2.5, Fooocus behaviour §5.1).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from api import neutral
from api.contracts.fooocusapi.pictures import Pictures
from api.contracts.fooocusapi.schemas import CommonRequest
from api.errors import InvalidRequest
from api.input_images import ReadImage
from api.neutral import given
from api.save_names import split
from api.settings import Settings
from graphs.request import GenerationRequest, Inpaint, InputImage, Refused
from graphs.request_parts import Enhance
from graphs.sizes import parse_aspect_ratio
from graphs.uov import DISABLED

SCALERS = ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end")
PLAIN_PROMPT = (0.6, 0.5)  # stop and weight of an image prompt of the plain kind that names neither
MAX_STAGES = 3
# Neutral field → the body's own field, for naming what was refused.
WIRE_NAMES: dict[str, str] = {
    "styles": "style_selections",
    "performance": "performance_selection",
    "aspect_ratio": "aspect_ratios_selection",
    "width": "aspect_ratios_selection",
    "height": "aspect_ratios_selection",
    "seed": "image_seed",
    "base_model": "base_model_name",
    "refiner_model": "refiner_model_name",
    "save_metadata": "save_metadata_to_images",
    "vae": "vae_name",
    "sampler": "sampler_name",
    "scheduler": "scheduler_name",
    "freeu": "freeu_enabled",
    "upscale_value": "upscale_multiple",
    "image_prompts": "controlnet_image",
    "inpaint.mask": "inpaint_mask_image_upload",
    "inpaint.outpaint": "outpaint_selections",
    "inpaint.distances": "outpaint_distance",
    "inpaint.additional_prompt": "inpaint_additional_prompt",
    "inpaint.strength": "inpaint_strength",
    "inpaint.respective_field": "inpaint_respective_field",
    "inpaint.erode_or_dilate": "inpaint_erode_or_dilate",
    "inpaint.engine": "inpaint_engine",
    "preprocessing.canny_low": "canny_low_threshold",
    "preprocessing.canny_high": "canny_high_threshold",
    "preprocessing.softness": "controlnet_softness",
    "enhance": "enhance_ctrls",
    "enhance.image": "enhance_input_image",
    "enhance.stages": "enhance_ctrls",
    "enhance.uov_method": "enhance_uov_method",
    "enhance.uov_order": "enhance_uov_processing_order",
    "enhance.uov_prompt_type": "enhance_uov_prompt_type",
}

WIRE_PARTS = {"image_prompts.": "controlnet_image", "enhance.stages.": "enhance_ctrls", "loras.": "loras"}


class Flow(Struct, frozen=True):
    """What a body asks for. tab: as FooocusAPI computes it. kind: of the job, in the words that both contracts list."""

    tab: str
    kind: str


ENHANCE = Flow("enhance", "Image Enhancement")
PROMPTED = Flow("ip", "Image Prompt")
UOV = Flow("uov", "Image Upscale or Variation")
INPAINT = Flow("inpaint", "Image Inpaint or Outpaint")
TEXT = Flow("uov", "Text to Image")


def flow_of(body: CommonRequest, pictures: Pictures) -> Flow:
    """Which flow the pictures mean. The one to enhance counts only where enhancing is switched on."""
    if pictures.enhance is not None and body.enhance_checkbox:
        return ENHANCE
    if pictures.prompts:
        return PROMPTED
    if pictures.uov is not None:
        return TEXT if body.uov_method == DISABLED else UOV
    return INPAINT if pictures.inpaint is not None else TEXT


def to_generation(
    body: CommonRequest, pictures: Pictures, settings: Settings, warnings: list[str], *, one_image: bool = False
) -> GenerationRequest:
    """Translate a body whose pictures are stored. The seed is settled here."""
    size = given(body.aspect_ratios_selection)
    width, height = parse_aspect_ratio(size) if size else (None, None)
    folder, name = split(body.save_name)
    request = GenerationRequest(
        prompt=given(body.prompt),
        negative_prompt=given(body.negative_prompt),
        styles=given(body.style_selections),
        performance=given(body.performance_selection),
        width=width,
        height=height,
        image_number=1 if one_image else given(body.image_number),
        seed=body.image_seed,
        preset=body.preset or None,
        sharpness=given(body.sharpness),
        guidance_scale=given(body.guidance_scale),
        base_model=given(body.base_model_name),
        refiner_model=given(body.refiner_model_name),
        refiner_switch=given(body.refiner_switch),
        loras=neutral.loras(body.loras),
        save_extension=given(body.output_format),
        save_name=name,
        save_folder=folder,
        save_by_time=True,
        save_metadata=given(body.save_metadata_to_images),
        metadata_scheme=given(body.metadata_scheme),
        read_wildcards_in_order=body.read_wildcards_in_order,
        **neutral.advanced(body, scalers(settings), warnings),
        **_images(body, pictures, warnings),
        enhance=_enhance(body, pictures, warnings),
    )
    return request.seeded()


def scalers(settings: Settings) -> Mapping[str, float]:
    """What the size conditions are scaled by where the request does not say."""
    return {name: getattr(settings, f"fooocusapi_{name}") for name in SCALERS}


def refused_field(refused: Refused, body: CommonRequest) -> InvalidRequest:
    """Name the body's own field for what a builder refused."""
    name = refused.field
    known = WIRE_NAMES.get(name) or next((wire for part, wire in WIRE_PARTS.items() if name.startswith(part)), name)
    return neutral.refused_field(refused, body, (known,))


def _images(body: CommonRequest, pictures: Pictures, warnings: list[str]) -> dict[str, Any]:
    """The pictures to start from and to steer by."""
    flow = flow_of(body, pictures)
    prompted = flow is PROMPTED
    varied = flow is UOV or (prompted and body.mixing_image_prompt_and_vary_upscale and body.uov_method != DISABLED)
    repainted = flow is INPAINT or (prompted and body.mixing_image_prompt_and_inpaint)
    found: dict[str, Any] = {}
    if varied and pictures.uov is not None:
        found |= {"input_image": pictures.uov.stored, "uov_method": body.uov_method}
        found |= {"upscale_value": body.upscale_multiple}
    elif repainted and pictures.inpaint is not None:
        found |= {"input_image": pictures.inpaint.stored, "inpaint": _inpaint(body, pictures.mask, warnings)}
    if prompted:
        sent = [(prompt, image.stored) for prompt, image in pictures.prompts]
        found["image_prompts"] = neutral.image_prompts(sent, PLAIN_PROMPT)
    warnings += _unused(pictures, flow, found)
    return found


def _inpaint(body: CommonRequest, mask: ReadImage | None, warnings: list[str]) -> Inpaint:
    """What to repaint. This contract never inverts a mask."""
    left, top, right, bottom = body.outpaint_distance
    prompt = "" if body.inpaint_additional_prompt.strip() == "None" else body.inpaint_additional_prompt
    if body.invert_mask_checkbox:
        warnings.append("invert_mask_checkbox is not used: this contract never inverts a mask.")
    settled = replace(body, invert_mask_checkbox=False)
    return neutral.inpaint(settled, mask, body.outpaint_selections, (left, top, right, bottom), prompt, warnings)


def _enhance(body: CommonRequest, pictures: Pictures, warnings: list[str]) -> Enhance | None:
    """The stages of enhancing; without a picture of their own they work on every result."""
    if not body.enhance_checkbox:
        return None
    return Enhance(
        image=stored(pictures.enhance),
        stages=neutral.enhance_stages(body.enhance_ctrls[:MAX_STAGES], body, warnings),
        uov_method=body.enhance_uov_method,
        uov_order=body.enhance_uov_processing_order,
        uov_prompt_type=body.enhance_uov_prompt_type,
        save_final_only=body.save_final_enhanced_image_only,
        show_masks=body.debugging_enhance_masks_checkbox,
    )


def stored(image: ReadImage | None) -> InputImage | None:
    """The picture as it lies in the input folder."""
    return None if image is None else image.stored


def _unused(pictures: Pictures, flow: Flow, found: Mapping[str, Any]) -> Sequence[str]:
    """One warning for every picture that was sent and does nothing."""
    others = "other pictures come first, and no mixing flag joins them"
    sent: dict[str, tuple[Any, bool, str]] = {
        "uov_input_image": (pictures.uov, "uov_method" in found, f"uov_method is Disabled, or {others}"),
        "inpaint_input_image": (pictures.inpaint, "inpaint" in found, others),
        "inpaint_mask_image_upload": (pictures.mask, "inpaint" in found, "nothing is inpainted"),
        "enhance_input_image": (pictures.enhance, flow is ENHANCE, "enhance_checkbox is off"),
        "controlnet_image": (pictures.prompts, flow is PROMPTED, "another picture is enhanced"),
    }
    return [f"{name} is not used: {why}." for name, (given, is_used, why) in sent.items() if given and not is_used]


def plain(body: CommonRequest) -> dict[str, Any]:
    """The body as plain data, without the pictures themselves."""
    names = ("uov_input_image", "inpaint_input_image", "inpaint_mask_image_upload", "enhance_input_image")
    bare = [replace(prompt, cn_img=None) for prompt in body.controlnet_image]
    return msgspec.to_builtins(replace(body, **dict.fromkeys(names, ""), controlnet_image=bare))
