"""Fields that both REST contracts share: their words in every spelling, their ranges, their parts.

A contract's own schemas build on these; where the two disagree about a default, the contract says its own.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from msgspec import UNSET, Meta, Struct, UnsetType

from graphs.inpaint_choice import SIDES
from graphs.names import find_folded
from graphs.request import Refused
from graphs.sizes import parse_aspect_ratio

PerformanceWord = Literal["Speed", "Quality", "Extreme Speed", "Lightning", "Hyper-SD"]
ExtensionWord = Literal["png", "jpg", "jpeg", "webp"]
SchemeWord = Literal["fooocus", "a1111"]
MethodWord = Literal[
    "Disabled",
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    "Upscale (Custom)",
]
PromptTypeWord = Literal["ImagePrompt", "FaceSwap", "PyraCanny", "CPDS"]
OrderWord = Literal["Before First Enhancement", "After Last Enhancement"]
EnhancePromptWord = Literal["Original Prompts", "Last Filled Enhancement Prompts"]
MaskModelWord = Literal[
    "u2net", "u2netp", "u2net_human_seg", "u2net_cloth_seg", "silueta", "isnet-general-use", "isnet-anime", "sam"
]
ClothWord = Literal["full", "upper", "lower"]
SamWord = Literal["vit_b", "vit_l", "vit_h"]
DescribeWord = Literal["Photo", "Anime"]
MAX_LORA_WEIGHT = 10  # the most that a preset may allow; its own limits are checked with the request


def listed(literal: Any, **aliases: str) -> Meta:
    """What `api.decode` needs to take a literal's words in any case, and other spellings of them."""
    return Meta(extra={"choices": get_args(literal), "aliases": aliases})


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


def _sides(given: list[str]) -> list[str]:
    """Sides in any case, also several in one text."""
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if find_folded(name, SIDES) is None:
            raise ValueError(f"There is no side {name[:40]!r}; there are Left, Right, Top and Bottom.")
    return names


Performance = Annotated[PerformanceWord, listed(PerformanceWord)]
Extension = Annotated[ExtensionWord, listed(ExtensionWord)]
Scheme = Annotated[SchemeWord, listed(SchemeWord, a111="a1111", foocus="fooocus")]
Method = Annotated[MethodWord, listed(MethodWord, disable="Disabled")]
PromptType = Annotated[PromptTypeWord, listed(PromptTypeWord)]
Order = Annotated[OrderWord, listed(OrderWord)]
EnhancePrompt = Annotated[EnhancePromptWord, listed(EnhancePromptWord)]
MaskModel = Annotated[MaskModelWord, listed(MaskModelWord)]
Cloth = Annotated[ClothWord, listed(ClothWord)]
Sam = Annotated[SamWord, listed(SamWord)]
DescribeType = Annotated[DescribeWord, listed(DescribeWord, **{"photograph": "Photo", "art/anime": "Anime"})]
SizeText = Annotated[str, Meta(extra={"read": _size_text})]
Styles = Annotated[list[str], Meta(extra={"read": _split_commas})]
Sides = Annotated[list[str], Meta(extra={"read": _sides, "lone": True})]
Webhook = Annotated[str, Meta(extra={"read": _http_or_none})]
Share = Annotated[float, Meta(ge=0, le=1)]
Factor = Annotated[float, Meta(ge=1, le=5)]
Pixels = Annotated[int, Meta(ge=-64, le=64)]


class Lora(Struct):
    """One LoRA slot; `enabled` is absent in older clients and then true."""

    model_name: str
    enabled: bool = True
    weight: Annotated[float, Meta(ge=-MAX_LORA_WEIGHT, le=MAX_LORA_WEIGHT)] = 0.5


class ImagePrompt(Struct):
    """A picture that steers the result. null and 0 mean what suits the type; not given, the contract's own number."""

    cn_img: Any = None
    cn_stop: Share | UnsetType | None = UNSET
    cn_weight: Annotated[float, Meta(ge=0, le=2)] | UnsetType | None = UNSET
    cn_type: PromptType = "ImagePrompt"


class Advanced(Struct, kw_only=True):
    """The settings that most requests leave alone: A's `advanced_params`, top-level fields in B."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {
        "inpaint_mask_upload_checkbox": ("inpaint_advanced_masking_checkbox",),
    }

    disable_preview: bool = False
    disable_intermediate_results: bool = False
    disable_seed_increment: bool = False
    adm_scaler_positive: Annotated[float, Meta(ge=0, le=3)] | UnsetType = UNSET
    adm_scaler_negative: Annotated[float, Meta(ge=0, le=3)] | UnsetType = UNSET
    adm_scaler_end: Share | UnsetType = UNSET
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
    controlnet_softness: Share = 0.25
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
    inpaint_strength: Share = 1.0
    inpaint_respective_field: Share = 1.0
    inpaint_mask_upload_checkbox: bool = False
    invert_mask_checkbox: bool = False
    inpaint_erode_or_dilate: Pixels = 0
    black_out_nsfw: bool = False
    vae_name: str | UnsetType = UNSET
    debugging_dino: bool = False
    debugging_enhance_masks_checkbox: bool = False
    dino_erode_or_dilate: Pixels = 0
    generate_image_grid: bool = False


class EnhanceStage(Struct, kw_only=True):
    """One stage of enhancing: what to look for, and how to repaint it."""

    enhance_enabled: bool = False
    enhance_mask_dino_prompt: str = ""
    enhance_prompt: str = ""
    enhance_negative_prompt: str = ""
    enhance_mask_model: MaskModel = "sam"
    enhance_mask_cloth_category: Cloth = "full"
    enhance_mask_sam_model: Sam = "vit_b"
    enhance_mask_text_threshold: Share = 0.25
    enhance_mask_box_threshold: Share = 0.3
    enhance_mask_sam_max_detections: Annotated[int, Meta(ge=0, le=10)] = 0
    enhance_inpaint_disable_initial_latent: bool = False
    enhance_inpaint_engine: str = "v2.6"
    enhance_inpaint_strength: Share = 1.0
    enhance_inpaint_respective_field: Share = 0.618
    enhance_inpaint_erode_or_dilate: Pixels = 0
    enhance_mask_invert: bool = False


class GenerateMask(Struct, kw_only=True):
    """The body of /v1/tools/generate_mask, the same in both contracts."""

    image: Any = None
    mask_model: MaskModel = "isnet-general-use"
    cloth_category: Cloth = "full"
    dino_prompt_text: str = ""
    sam_model: Sam = "vit_b"
    box_threshold: Share = 0.3
    text_threshold: Share = 0.25
    sam_max_detections: Annotated[int, Meta(ge=0, le=10)] = 0
    dino_erode_or_dilate: Pixels = 0
    dino_debug: bool = False


class Describe(Struct, kw_only=True):
    """What /v1/tools/describe-image is asked, in query, form or JSON."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {"image_type": ("type",)}

    image: Any = None
    image_type: DescribeType = "Photo"
