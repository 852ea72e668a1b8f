"""What requests of Fooocus-API look like on the wire: fields, types, ranges, spellings.

A field that is UNSET was not given and takes the preset's value. Unknown fields are ignored by the decoder.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from graphs.request import Refused
from graphs.sizes import parse_aspect_ratio

Performance = Literal["Speed", "Quality", "Extreme Speed", "Lightning", "Hyper-SD"]
Extension = Literal["png", "jpg", "jpeg", "webp"]
Scheme = Literal["fooocus", "a1111"]
SCHEME_SPELLINGS = {"a111": "a1111", "foocus": "fooocus"}


def _size_text(text: str) -> str:
    """Check an aspect ratio; what it is worth in pixels is read again by the builder."""
    try:
        parse_aspect_ratio(text)
    except Refused as refused:
        raise ValueError(f"{refused.message} {refused.hint}") from refused
    return text


def _split_commas(styles: list[str]) -> list[str]:
    """No style name contains a comma, and clients send `["A,B, C"]`."""
    return [name.strip() for text in styles for name in text.split(",") if name.strip()]


def _http_or_none(url: str) -> str:
    """The placeholders that mean "no webhook"; anything else is kept for the delivery to judge."""
    return "" if url.strip().lower() in ("", "string", "none", "null") else url.strip()


def _in_order(literal: Any, **extra: Any) -> Meta:
    return Meta(extra={"choices": get_args(literal), **extra})


class Lora(Struct):
    """One LoRA slot; `enabled` is absent in older clients and then true."""

    model_name: str
    enabled: bool = True
    weight: Annotated[float, Meta(ge=-2, le=2)] = 0.5


class AdvancedParams(Struct):
    """`advanced_params`: every member that the documents and clients name."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        "inpaint_mask_upload_checkbox": ("inpaint_advanced_masking_checkbox",),
    }

    disable_preview: bool = False
    disable_intermediate_results: bool = False
    disable_seed_increment: bool = False
    adm_scaler_positive: Annotated[float, Meta(ge=0, le=3)] | UnsetType = UNSET
    adm_scaler_negative: Annotated[float, Meta(ge=0, le=3)] | UnsetType = UNSET
    adm_scaler_end: Annotated[float, Meta(ge=0, le=1)] | UnsetType = UNSET
    refiner_swap_method: str = "joint"
    adaptive_cfg: Annotated[float, Meta(ge=1, le=30)] | UnsetType = UNSET
    clip_skip: Annotated[int, Meta(ge=1, le=12)] | UnsetType = UNSET
    sampler_name: str | UnsetType = UNSET
    scheduler_name: str | UnsetType = UNSET
    overwrite_step: Annotated[int, Meta(ge=-1, le=200)] = -1
    overwrite_switch: Annotated[float, Meta(ge=-1, le=200)] = -1
    overwrite_width: Annotated[int, Meta(ge=-1, le=2048)] = -1
    overwrite_height: Annotated[int, Meta(ge=-1, le=2048)] = -1
    overwrite_vary_strength: Annotated[float, Meta(ge=-1, le=1)] = -1
    overwrite_upscale_strength: Annotated[float, Meta(ge=-1, le=1)] = -1
    mixing_image_prompt_and_vary_upscale: bool = False
    mixing_image_prompt_and_inpaint: bool = False
    debugging_cn_preprocessor: bool = False
    skipping_cn_preprocessor: bool = False
    controlnet_softness: Annotated[float, Meta(ge=0, le=1)] = 0.25
    canny_low_threshold: Annotated[int, Meta(ge=1, le=255)] = 64
    canny_high_threshold: Annotated[int, Meta(ge=1, le=255)] = 128
    freeu_enabled: bool = False
    freeu_b1: float = 1.01
    freeu_b2: float = 1.02
    freeu_s1: float = 0.99
    freeu_s2: float = 0.95
    debugging_inpaint_preprocessor: bool = False
    inpaint_disable_initial_latent: bool = False
    inpaint_engine: str = "v2.6"
    inpaint_strength: Annotated[float, Meta(ge=0, le=1)] = 1.0
    inpaint_respective_field: Annotated[float, Meta(ge=0, le=1)] = 1.0
    inpaint_mask_upload_checkbox: bool = False
    invert_mask_checkbox: bool = False
    inpaint_erode_or_dilate: Annotated[int, Meta(ge=-64, le=64)] = 0
    black_out_nsfw: bool = False
    vae_name: str | UnsetType = UNSET
    debugging_dino: bool = False
    debugging_enhance_masks_checkbox: bool = False
    dino_erode_or_dilate: Annotated[int, Meta(ge=-64, le=64)] = 0


class TextToImage(Struct):
    """The body of POST /v1/generation/text-to-image, and the part that every generation route shares."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        "style_selections": ("style",),
        "aspect_ratios_selection": ("aspect_ratios_selections", "aspect_ratio"),
    }

    prompt: str | UnsetType = UNSET
    negative_prompt: str | UnsetType = UNSET
    style_selections: Annotated[list[str], Meta(extra={"read": _split_commas})] | UnsetType = UNSET
    performance_selection: Annotated[Performance, _in_order(Performance)] | UnsetType = UNSET
    aspect_ratios_selection: Annotated[str, Meta(extra={"read": _size_text})] | UnsetType = UNSET
    image_number: Annotated[int, Meta(ge=1, le=32)] | UnsetType = UNSET
    image_seed: int = -1
    sharpness: Annotated[float, Meta(ge=0, le=30)] | UnsetType = UNSET
    guidance_scale: Annotated[float, Meta(ge=1, le=30)] | UnsetType = UNSET
    base_model_name: str | UnsetType = UNSET
    refiner_model_name: str | UnsetType = UNSET
    refiner_switch: Annotated[float, Meta(ge=0.1, le=1)] | UnsetType = UNSET
    loras: list[Lora] | UnsetType = UNSET
    advanced_params: AdvancedParams = msgspec.field(default_factory=AdvancedParams)
    save_meta: bool = True
    meta_scheme: Annotated[Scheme, _in_order(Scheme, aliases=SCHEME_SPELLINGS)] = "fooocus"
    save_extension: Annotated[Extension, _in_order(Extension)] = "png"
    save_name: str = ""
    read_wildcards_in_order: bool = False
    require_base64: bool = False
    async_process: bool = False
    webhook_url: Annotated[str, Meta(extra={"read": _http_or_none})] = ""


class QueryJob(Struct):
    """Query parameters of GET /v1/generation/query-job."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {}

    job_id: str
    require_step_preview: bool = False
    require_step_preivew: bool = False  # the spelling of the older documents


class JobHistory(Struct):
    """Query parameters of GET /v1/generation/job-history."""

    job_id: str = ""
    page: Annotated[int, Meta(ge=0)] | UnsetType = UNSET
    page_size: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    delete: bool = False
