"""What requests of Fooocus-API look like on the wire: fields, types, ranges, spellings.

A field that is UNSET was not given and takes the preset's value. Unknown fields are ignored by the decoder.
"""

from typing import Annotated, ClassVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from api import fields
from api.fields import Extension, Lora, Performance, Scheme, SizeText, Styles, Webhook
from api.save_names import checked

__all__ = ["AdvancedParams", "JobHistory", "Lora", "QueryJob", "TextToImage"]

SaveName = Annotated[str, Meta(extra={"read": checked})]


class AdvancedParams(fields.Advanced, kw_only=True):
    """`advanced_params`: every member that the documents and clients name."""


class TextToImage(Struct):
    """The body of POST /v1/generation/text-to-image, and the part that every generation route shares."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        "style_selections": ("style",),
        "aspect_ratios_selection": ("aspect_ratios_selections", "aspect_ratio"),
    }

    prompt: str | UnsetType = UNSET
    negative_prompt: str | UnsetType = UNSET
    style_selections: Styles | UnsetType = UNSET
    performance_selection: Performance | UnsetType = UNSET
    aspect_ratios_selection: SizeText | UnsetType = UNSET
    image_number: Annotated[int, Meta(ge=1, le=32)] | UnsetType = UNSET
    image_seed: int = -1
    sharpness: Annotated[float, Meta(ge=0, le=30)] | UnsetType = UNSET
    guidance_scale: Annotated[float, Meta(ge=1, le=30)] | UnsetType = UNSET
    base_model_name: str | UnsetType = UNSET
    refiner_model_name: str | UnsetType = UNSET
    refiner_switch: Annotated[float, Meta(ge=0.1, le=1)] | UnsetType = UNSET
    loras: list[Lora] | UnsetType = UNSET
    advanced_params: AdvancedParams = msgspec.field(default_factory=AdvancedParams)
    preset: str | UnsetType = UNSET
    save_meta: bool | UnsetType = UNSET
    meta_scheme: Scheme | UnsetType = UNSET
    save_extension: Extension | UnsetType = UNSET
    save_name: SaveName = ""
    read_wildcards_in_order: bool = False
    require_base64: bool = False
    async_process: bool = False
    webhook_url: Webhook = ""


class QueryJob(Struct):
    """Query parameters of GET /v1/generation/query-job."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {}

    job_id: str
    require_step_preview: bool = False
    require_step_preivew: bool = False  # the spelling of the older documents


class JobHistory(Struct):
    """Query parameters of GET /v1/generation/job-history."""

    job_id: str = ""
    page: Annotated[int, Meta(ge=0, le=10**9)] | UnsetType = UNSET  # their product stays below 2**63, SQL's largest
    page_size: Annotated[int, Meta(ge=1, le=10**9)] | UnsetType = UNSET
    delete: bool = False
