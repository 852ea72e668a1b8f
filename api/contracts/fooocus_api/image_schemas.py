"""What requests with pictures look like on the wire: text-to-image's fields and these.

A picture is text (base64, data URI, address) or, from a form, the bytes of a file; `api.input_images` reads it. A form
has no lists of objects: its image prompts and stages are fields with a number (`cn_img1`, `enhance_prompt_1`).
"""

from typing import Any, ClassVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from api.contracts.fooocus_api.schemas import TextToImage
from api.fields import EnhancePrompt, EnhanceStage, Factor, ImagePrompt, Method, Order, Sides

SLOTS = range(1, 5)  # image prompts that count
STAGES = range(1, 4)  # stages that count
SLOT_FIELDS = tuple(ImagePrompt.__struct_fields__)
STAGE_FIELDS = tuple(EnhanceStage.__struct_fields__)


def _numbered(kind: type[Struct], suffix: str, numbers: range) -> list[tuple[str, Any, Any]]:
    """A struct's fields with numbers behind their names."""
    known = msgspec.structs.fields(kind)
    return [(f"{field.name}{suffix}{n}", field.type, field.default) for n in numbers for field in known]


class Prompted(TextToImage, kw_only=True):
    """The body of /v2/generation/text-to-image-with-ip, and the part that every route with pictures shares."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {**TextToImage.ALIASES, "image_prompts": ("controlnet_image",)}

    image_prompts: list[ImagePrompt] = []


class WithImage(Prompted, kw_only=True):
    """With a picture to start from."""

    input_image: Any = None


class UpscaleVary(WithImage, kw_only=True):
    """The body of /v2/generation/image-upscale-vary."""

    uov_method: Method = "Upscale (2x)"
    upscale_value: Factor | UnsetType = UNSET


class Inpaint(WithImage, kw_only=True):
    """The body of /v2/generation/image-inpaint-outpaint."""

    input_mask: Any = None
    inpaint_additional_prompt: str = ""
    outpaint_selections: Sides = []
    outpaint_distance_left: int = 0
    outpaint_distance_right: int = 0
    outpaint_distance_top: int = 0
    outpaint_distance_bottom: int = 0


class PromptedInpaint(Inpaint, kw_only=True):
    """The body of /v2/generation/image-prompt, whose input image may be left out."""


class Enhanced(TextToImage, kw_only=True):
    """The body of /v2/generation/image-enhance, but for its stages."""

    enhance_input_image: Any = None
    enhance_checkbox: bool = True
    enhance_uov_method: Method = "Vary (Strong)"
    enhance_uov_processing_order: Order = "Before First Enhancement"
    enhance_uov_prompt_type: EnhancePrompt = "Original Prompts"
    save_final_enhanced_image_only: bool = True


class Stage(EnhanceStage, kw_only=True):
    """One stage of enhancing: what to look for, and how to repaint it."""

    enhance_mask_dino_prompt: str = "face"


class Enhance(Enhanced, kw_only=True):
    """The body of /v2/generation/image-enhance."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {**TextToImage.ALIASES, "enhance_ctrlnets": ("enhance_ctrls",)}

    enhance_ctrlnets: list[Stage] = []


def _form(name: str, base: type[Struct], extra: list[tuple[str, Any, Any]], document: str) -> type[Struct]:
    return msgspec.defstruct(name, extra, bases=(base,), kw_only=True, module=__name__, namespace={"__doc__": document})


class UpscaleVaryAsked(WithImage, kw_only=True):
    """UpscaleVary that has to say what is wanted."""

    uov_method: Method
    upscale_value: Factor | UnsetType = UNSET


_PROMPTS = _numbered(ImagePrompt, "", SLOTS)
UpscaleVaryForm = _form("UpscaleVaryForm", UpscaleVaryAsked, _PROMPTS, "The form of image-upscale-vary.")
InpaintForm = _form("InpaintForm", Inpaint, _PROMPTS, "The form of image-inpaint-outpaint.")
PromptForm = _form("PromptForm", PromptedInpaint, _PROMPTS, "The form of image-prompt.")
EnhanceForm = _form("EnhanceForm", Enhanced, _numbered(EnhanceStage, "_", STAGES), "The form of image-enhance.")
