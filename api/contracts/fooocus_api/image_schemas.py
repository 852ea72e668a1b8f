"""What requests with an input image look like on the wire: text-to-image's fields and these.

A picture is text (base64, data URI, address) or, from a form, the bytes of a file; `api.input_images` reads it.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from msgspec import UNSET, Meta, UnsetType

from api.contracts.fooocus_api.schemas import TextToImage
from graphs.inpaint_choice import SIDES
from graphs.names import find_folded

Method = Literal[
    "Disabled",
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    "Upscale (Custom)",
]
UpscaleValue = Annotated[float, Meta(ge=1, le=5)]
METHOD = Meta(extra={"choices": get_args(Method), "aliases": {"disable": "Disabled"}})


def _sides(given: list[str]) -> list[str]:
    """Sides in any case, also several in one text."""
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    for name in names:
        if find_folded(name, SIDES) is None:
            raise ValueError(f"There is no side {name[:40]!r}; there are Left, Right, Top and Bottom.")
    return names


class WithImage(TextToImage, kw_only=True):
    """The part that every route with an input image shares."""

    ALIASES: ClassVar[dict[str, tuple[str, ...]]] = {**TextToImage.ALIASES, "image_prompts": ("controlnet_image",)}

    input_image: Any = None
    image_prompts: Any = None


class UpscaleVary(WithImage, kw_only=True):
    """The body of /v2/generation/image-upscale-vary."""

    uov_method: Annotated[Method, METHOD] = "Upscale (2x)"
    upscale_value: UpscaleValue | UnsetType = UNSET


class UpscaleVaryForm(WithImage, kw_only=True):
    """The form of the same, which has to say what is wanted."""

    uov_method: Annotated[Method, METHOD]
    upscale_value: UpscaleValue | UnsetType = UNSET


class Inpaint(WithImage, kw_only=True):
    """The body of /v2/generation/image-inpaint-outpaint, and the form."""

    input_mask: Any = None
    inpaint_additional_prompt: str = ""
    outpaint_selections: Annotated[list[str], Meta(extra={"read": _sides})] | UnsetType = UNSET
    outpaint_distance_left: int = 0
    outpaint_distance_right: int = 0
    outpaint_distance_top: int = 0
    outpaint_distance_bottom: int = 0
