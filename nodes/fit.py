"""Sizes that Fooocus gives pictures before it varies them and after it enlarged them."""

from typing import Annotated

from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models import geometry
from models.resample import lanczos
from nodes.sockets import Image

MAX_SIDE = 16384

BaseSize = Annotated[int, Meta(ge=64, le=MAX_SIDE), Widget(step=64)]


@node("FitForVary", category="image/upscaling", display_name="Fit Image for Vary")
def fit_for_vary(image: Image, base_size: BaseSize = 1024) -> Image:
    """Resize pictures to what a model can vary, as Fooocus does: sides of a class from base_size to twice that.

    base_size: the side of the pictures that the model was made for; 1024 for SDXL.
    """
    height, width = geometry.vary_size(image.shape[1], image.shape[2], base_size)
    return image if (height, width) == tuple(image.shape[1:3]) else lanczos(image, width, height)


@node("FitForUpscale", category="image/upscaling", display_name="Fit Image for Upscale")
def fit_for_upscale(
    image: Image,
    original: Image,
    factor: Annotated[float, Meta(ge=0.1, le=8.0), Widget(default=2.0, step=0.1)],
    base_size: BaseSize = 1024,
) -> Image:
    """Resize what an upscaler made of `original` to `factor` times the original, but at least to base_size's class."""
    height, width = geometry.upscaled_size(original.shape[1], original.shape[2], factor, base_size)
    return lanczos(image, width, height)
