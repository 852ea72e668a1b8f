"""A job's request in the words of the persistent history, whichever contract the job came by (API contract §3.4)."""

from msgspec import UNSET, Struct, UnsetType

from api import said
from api.contracts.fooocus_api.schemas import AdvancedParams
from graphs.inpaint_choice import SIDES
from graphs.request import GenerationRequest
from graphs.request_parts import Inpaint, InputImage


class HistoryParams(Struct, kw_only=True):
    """What was asked, settled; pictures by the names of their files. Of a graph that somebody posted it is empty."""

    prompt: str | UnsetType | None = UNSET
    negative_prompt: str | UnsetType | None = UNSET
    style_selections: list[str] | UnsetType = UNSET
    performance_selection: str | UnsetType | None = UNSET
    aspect_ratios_selection: str | UnsetType = UNSET
    base_model_name: str | UnsetType | None = UNSET
    refiner_model_name: str | UnsetType | None = UNSET
    refiner_switch: float | UnsetType | None = UNSET
    loras: list[list[bool | str | float]] | UnsetType = UNSET
    image_number: int | UnsetType | None = UNSET
    image_seed: str | UnsetType = UNSET
    sharpness: float | UnsetType | None = UNSET
    guidance_scale: float | UnsetType | None = UNSET
    advanced_params: AdvancedParams | UnsetType = UNSET
    input_image: str | UnsetType | None = UNSET
    input_mask: str | UnsetType | None = UNSET
    image_prompts: list[list[float | str | None]] | UnsetType = UNSET
    inpaint_additional_prompt: str | UnsetType = UNSET
    outpaint_selections: list[str] | UnsetType = UNSET
    outpaint_distance_left: int | UnsetType = UNSET
    outpaint_distance_right: int | UnsetType = UNSET
    outpaint_distance_top: int | UnsetType = UNSET
    outpaint_distance_bottom: int | UnsetType = UNSET
    uov_method: str | UnsetType = UNSET
    upscale_value: float | UnsetType | None = UNSET
    webhook_url: str | UnsetType | None = UNSET
    require_base64: bool | UnsetType = UNSET
    async_process: bool | UnsetType | None = UNSET


def history_params(request: GenerationRequest, *, require_base64: bool = False) -> HistoryParams:
    """The contract's keys for a settled request."""
    inpaint = request.inpaint or Inpaint()
    own = request.enhance.image if request.enhance else None
    distances = dict(zip(SIDES, inpaint.distances, strict=True))
    return HistoryParams(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        style_selections=list(request.styles or ()),
        performance_selection=request.performance,
        aspect_ratios_selection=f"{request.width}*{request.height}",
        base_model_name=request.base_model,
        refiner_model_name=request.refiner_model,
        refiner_switch=request.refiner_switch,
        loras=[[lora.enabled, lora.name, lora.weight] for lora in request.loras or ()],
        image_number=request.image_number,
        image_seed=str(request.seed),
        sharpness=request.sharpness,
        guidance_scale=request.guidance_scale,
        advanced_params=AdvancedParams(**said.advanced(request)),
        input_image=_name(request.input_image or own),
        input_mask=inpaint.mask,
        image_prompts=[[prompt.stop, prompt.weight, prompt.type] for prompt in request.image_prompts],
        inpaint_additional_prompt=inpaint.additional_prompt,
        outpaint_selections=[side.strip().capitalize() for side in inpaint.outpaint],
        outpaint_distance_left=distances["left"],
        outpaint_distance_right=distances["right"],
        outpaint_distance_top=distances["top"],
        outpaint_distance_bottom=distances["bottom"],
        uov_method=request.uov_method,
        upscale_value=request.upscale_value,
        webhook_url=None,
        require_base64=require_base64,
        async_process=None,
    )


def _name(picture: InputImage | None) -> str | None:
    return picture.name if picture is not None else None
