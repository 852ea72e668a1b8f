"""What requests of FooocusAPI look like on the wire: one flat body for every flow, and the queries of its other routes.

A field that is UNSET was not given and takes the preset's value. Unknown fields are ignored by the decoder.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api import fields
from api.fields import Factor, ImagePrompt, Method, Order, Share, SizeText, Styles
from api.save_names import checked


def _four(given: list[int]) -> list[int]:
    """Left, top, right, bottom; more than four are dropped, as FooocusAPI does."""
    if len(given) < 4:
        raise ValueError(f"{len(given)} distances were given; there are four: left, top, right, bottom.")
    return given[:4]


def _plain_name(given: str) -> str:
    """A preset's name is no path."""
    if set(given) & set("/\\\0") or (given.strip() and not given.strip(". ")):
        raise ValueError("A preset is named by its file name without the ending; it is no path.")
    return given.strip()


PerformanceWord = Literal["Quality", "Speed", "Extreme Speed", "Lightning", "Hyper-SD"]
Performance = Annotated[PerformanceWord, fields.listed(PerformanceWord)]
Distances = Annotated[list[int], Meta(extra={"read": _four})]
PresetName = Annotated[str, Meta(extra={"read": _plain_name})]
SaveName = Annotated[str, Meta(extra={"read": checked})]


class Lora(fields.Lora):
    """One LoRA slot; without a name an empty one."""

    model_name: str = "None"


class CommonRequest(fields.Advanced, kw_only=True):
    """The body of POST /v1/engine/generate/.

    Pictures are base64, data URIs or http(s) addresses. `input_image_checkbox`, `inpaint_mask_upload_checkbox`,
    `invert_mask_checkbox` and `current_tab` are read and have no effect: the pictures decide what is done.
    """

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        **fields.Advanced.ALIASES,
        "style_selections": ("style",),
        "aspect_ratios_selection": ("aspect_ratios_selections", "aspect_ratio"),
        "controlnet_image": ("image_prompts",),
        "enhance_ctrls": ("enhance_ctrlnets",),
        "output_format": ("save_extension",),
        "metadata_scheme": ("meta_scheme",),
    }

    prompt: str | UnsetType = UNSET
    negative_prompt: str | UnsetType = UNSET
    style_selections: Styles | UnsetType = UNSET
    performance_selection: Performance | UnsetType = UNSET
    aspect_ratios_selection: SizeText | UnsetType = UNSET
    image_number: Annotated[int, Meta(ge=1, le=32)] | UnsetType = UNSET
    output_format: fields.Extension | UnsetType = UNSET
    image_seed: int = -1
    read_wildcards_in_order: bool = False
    sharpness: Annotated[float, Meta(ge=0, le=30)] | UnsetType = UNSET
    guidance_scale: Annotated[float, Meta(ge=1, le=30)] | UnsetType = UNSET
    base_model_name: str | UnsetType = UNSET
    refiner_model_name: str | UnsetType = UNSET
    refiner_switch: Annotated[float, Meta(ge=0.1, le=1)] | UnsetType = UNSET
    loras: list[Lora] | UnsetType = UNSET

    input_image_checkbox: bool = True
    current_tab: str = "uov"
    uov_method: Method = "Disabled"
    uov_input_image: Any = None
    outpaint_selections: fields.Sides = []
    outpaint_distance: Distances = msgspec.field(default_factory=lambda: [0, 0, 0, 0])
    inpaint_input_image: Any = None
    inpaint_additional_prompt: str = ""
    inpaint_mask_image_upload: Any = None
    upscale_multiple: Factor = 1.0
    controlnet_image: list[ImagePrompt] = []

    enhance_input_image: Any = None
    enhance_checkbox: bool = False
    enhance_uov_method: Method = "Disabled"
    enhance_uov_processing_order: Order = "Before First Enhancement"
    enhance_uov_prompt_type: fields.EnhancePrompt = "Original Prompts"
    enhance_ctrls: list[fields.EnhanceStage] = []
    save_final_enhanced_image_only: bool = False

    overwrite_step: int = -1
    overwrite_switch: float = -1
    inpaint_respective_field: Share = 0.618
    inpaint_mask_upload_checkbox: bool = True
    save_metadata_to_images: bool | UnsetType = UNSET
    metadata_scheme: fields.Scheme | UnsetType = UNSET
    save_name: SaveName = ""
    preset: PresetName = "initial"
    stream_output: bool = False
    require_base64: bool = False
    async_process: bool = False
    webhook_url: fields.Webhook = ""


class Control(Struct):
    """The query of POST /v1/engine/control/."""

    action: str


class Tasks(Struct):
    """The query of GET /tasks. Times are ISO 8601 in the server's own time zone."""

    query: str = "all"
    page: int = 0
    page_size: int = 10
    start_at: str = ""
    end_at: str = ""
    action: str = ""


class Record(Struct, kw_only=True):
    """A task. Times in Unix milliseconds, -1 until they happen; `preview` only while it runs."""

    id: int
    task_id: str
    req_params: dict[str, Any]
    in_queue_mills: int
    start_mills: int
    finish_mills: int
    task_status: Literal["pending", "running", "finished", "stop", "error"]
    progress: int
    preview: str | UnsetType | None = UNSET
    webhook_url: str
    result: list[str]


class TaskList(Struct):
    """What GET /tasks answers, whatever was asked for."""

    history: list[Record] = []
    current: list[Record] = []
    pending: list[Record] = []


class Message(Struct):
    """What POST /v1/engine/control/ answers."""

    message: str
