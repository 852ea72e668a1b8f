"""Vary and upscale: which of them a request asks for, and how strongly (Fooocus behaviour §5.1-5.3)."""

import re
from collections.abc import Sequence

from msgspec import Struct

from graphs.names import did_you_mean, find_folded
from graphs.request import GenerationRequest, InputImage, Refused

DISABLED = "Disabled"
CUSTOM = "Upscale (Custom)"
METHODS = (
    DISABLED,
    "Vary (Subtle)",
    "Vary (Strong)",
    "Upscale (1.5x)",
    "Upscale (2x)",
    "Upscale (Fast 2x)",
    CUSTOM,
)
VARY_STRENGTH = {"Vary (Subtle)": 0.5, "Vary (Strong)": 0.85}
UPSCALE_STRENGTH = 0.382
DEFAULT_FACTOR = 2.0
MAX_PIXELS = 4096 * 4096  # of an input image; an upscaler makes 16 pixels of each


class Vary(Struct, frozen=True):
    """strength: share of the noise that the picture is given, 0..1."""

    strength: float


class Upscale(Struct, frozen=True):
    """factor: per side. fast: without a diffusion pass, whatever the size."""

    factor: float
    fast: bool
    strength: float


def find_method(label: str, methods: Sequence[str] = METHODS) -> str | None:
    """A method by its label, whatever the case; `disable`, "" and `None` mean Disabled. None when there is no such."""
    if label.strip().casefold() in ("", "none", "disable"):
        return DISABLED
    return find_folded(label.strip(), methods)


def chosen(request: GenerationRequest) -> Vary | Upscale | None:
    """What a request wants done with its input image; None for nothing. Raises Refused for an unknown method."""
    label = find_method(request.uov_method)
    if label is None:
        near = did_you_mean(request.uov_method, METHODS)
        raise Refused(
            "uov_method", f"There is no method {request.uov_method!r}.{near}", f"One of {', '.join(METHODS)}."
        )
    if label == DISABLED:
        return None
    if label in VARY_STRENGTH:
        return Vary(_over(request.overwrite_vary_strength, VARY_STRENGTH[label]))
    strength = _over(request.overwrite_upscale_strength, UPSCALE_STRENGTH)
    return Upscale(_factor(label, request.upscale_value), "Fast" in label, strength)


def input_image(request: GenerationRequest) -> InputImage:
    """The picture to work on. Raises Refused when there is none, or one that cannot be worked on."""
    image = request.input_image
    if image is None:
        raise Refused("input_image", f"{request.uov_method} needs a picture.", "Send one as the input image.")
    if image.width < 1 or image.height < 1 or image.width * image.height > MAX_PIXELS:
        raise Refused(
            "input_image",
            f"The picture has {image.width}x{image.height} pixels.",
            f"Pictures of up to {MAX_PIXELS} pixels (4096x4096) can be varied and upscaled.",
        )
    return image


def _factor(label: str, value: float | None) -> float:
    if label == CUSTOM:
        return DEFAULT_FACTOR if value is None else float(value)
    number = re.search(r"\d+(\.\d+)?(?=x)", label)
    return float(number[0]) if number else DEFAULT_FACTOR


def _over(overwrite: float, default: float) -> float:
    return float(overwrite) if overwrite > 0 else default
