"""Masks found in a picture: by a network for what stands out, or by words."""

from typing import Annotated, Literal

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket
from models.masks.u2net import MaskNetwork, open_mask_network
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image, Mask

MaskModel = Annotated[MaskNetwork, Socket("MASK_MODEL")]
InpaintFile = Annotated[str, Choices(lambda: model_names("inpaint"))]


@node(
    "MaskModelLoader",
    category="loaders",
    display_name="Load Mask Model",
    fingerprint=lambda model_name: file_identity("inpaint", model_name),
)
def load_mask_model(model_name: InpaintFile, context: Context) -> MaskModel:
    """Open an ONNX file of the U²-Net or IS-Net kind, as rembg publishes them: u2net, u2netp, silueta, isnet …"""
    runtime: Runtime = context.runtime
    return open_mask_network(runtime.folders.path("inpaint", model_name))


@node("MaskWithModel", category="mask", display_name="Find Mask (using Model)")
def mask_with_model(mask_model: MaskModel, image: Image, category: Literal["full", "upper", "lower"] = "full") -> Mask:
    """Find what stands out in a picture. category: which clothes, for u2net_cloth_seg only."""
    return mask_model.mask(image, category)
