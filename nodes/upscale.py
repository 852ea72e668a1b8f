"""Enlarging pictures with a super-resolution network."""

from typing import Annotated

from engine.context import Context
from engine.node import node
from engine.types import Choices
from models.upscale.upscaler import load_upscaler
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image, UpscaleModel

UpscalerName = Annotated[str, Choices(lambda: model_names("upscale_models"))]


@node(
    "UpscaleModelLoader",
    category="loaders",
    display_name="Load Upscale Model",
    fingerprint=lambda model_name: file_identity("upscale_models", model_name),
)
def load_upscale_model(model_name: UpscalerName, context: Context) -> UpscaleModel:
    """Open an upscaler of the ESRGAN kind: ESRGAN, Real-ESRGAN, Fooocus' own (.safetensors, .pth, .bin)."""
    runtime: Runtime = context.runtime
    return load_upscaler(runtime.folders.path("upscale_models", model_name), runtime.residency)


@node("ImageUpscaleWithModel", category="image/upscaling", display_name="Upscale Image (using Model)")
def upscale_with_model(upscale_model: UpscaleModel, image: Image, context: Context) -> Image:
    """Enlarge pictures by the upscaler's own factor, in tiles of 512 pixels or what fits into memory."""
    return upscale_model.upscale(image, report=context.progress)
