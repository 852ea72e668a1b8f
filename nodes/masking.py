"""Masks found in a picture: by a network for what stands out, or by words."""

from typing import Annotated, Literal

import torch
from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Ui, Widget
from models.masks.boxes import Boxes as BoxesValue
from models.masks.grounding_dino import GroundingDino as GroundingDinoValue
from models.masks.grounding_dino import load_grounding_dino
from models.masks.sam import Sam, load_sam
from models.masks.u2net import MaskNetwork, open_mask_network
from nodes.runtime import Runtime, current, file_identity, model_names
from nodes.sockets import Image, Mask

MaskModel = Annotated[MaskNetwork, Socket("MASK_MODEL")]
SamModel = Annotated[Sam, Socket("SAM_MODEL")]
GroundingDino = Annotated[GroundingDinoValue, Socket("GROUNDING_DINO")]
Boxes = Annotated[BoxesValue, Socket("BOXES")]
Share = Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.01)]


def _vocabularies() -> list[str]:
    runtime = current()
    return runtime.folders.beside("inpaint") if runtime else []


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


@node(
    "GroundingDinoLoader",
    category="loaders",
    display_name="Load GroundingDINO",
    fingerprint=lambda model_name, vocabulary: (
        file_identity("inpaint", model_name),
        file_identity("inpaint", vocabulary),
    ),
)
def load_grounding_dino_node(
    model_name: InpaintFile, vocabulary: Annotated[str, Choices(_vocabularies)], context: Context
) -> GroundingDino:
    """Open groundingdino_swint_ogc.pth, with the vocab.txt of bert-base-uncased. Needs the extra focal[masks]."""
    runtime: Runtime = context.runtime
    path, words = (runtime.folders.path("inpaint", name) for name in (model_name, vocabulary))
    return load_grounding_dino(path, words, runtime.residency)


@node(
    "SamLoader",
    category="loaders",
    display_name="Load Segment Anything",
    fingerprint=lambda model_name: file_identity("sam", model_name),
)
def load_sam_node(model_name: Annotated[str, Choices(lambda: model_names("sam"))], context: Context) -> SamModel:
    """Open a checkpoint of Segment Anything: sam_vit_b, _l or _h. Needs the extra focal[masks]."""
    runtime: Runtime = context.runtime
    return load_sam(runtime.folders.path("sam", model_name), runtime.residency)


@node("DetectBoxes", category="mask", display_name="Detect Boxes", outputs=("BOXES", "INT"))
def detect_boxes(
    grounding_dino: GroundingDino,
    image: Image,
    prompt: Annotated[str, Widget(default="")],
    box_threshold: Share = 0.3,
    text_threshold: Share = 0.25,
    erode_or_dilate: Annotated[int, Meta(ge=-256, le=256)] = 0,
) -> tuple[Boxes, int] | Ui:
    """Find boxes around what a prompt names, in the first picture. The second output is how many.

    box_threshold: how sure the model must be of a box. text_threshold: of a word, for the phrase that is told with the
    box. erode_or_dilate: pixels to move every side outwards.
    """
    found = grounding_dino.boxes(image[0], prompt, box_threshold, text_threshold)
    found = found.grown(erode_or_dilate, *image.shape[1:3])
    return Ui({"boxes": found.corners.tolist(), "phrases": list(found.phrases)}, (found, len(found)))


@node("MaskBoxes", category="mask", display_name="Mask Boxes", outputs=("MASK", "INT"))
def mask_boxes(
    sam_model: SamModel,
    image: Image,
    boxes: Boxes,
    context: Context,
    max_detections: Annotated[int, Meta(ge=0, le=1000)] = 0,
) -> tuple[Mask, int] | Ui:
    """Select what fills the boxes of the first picture, all or the first so many. The second output is how many."""
    height, width = image.shape[1:3]
    corners = boxes.corners[: max_detections or None]
    mask = torch.zeros(1, height, width)
    if len(corners):
        segments = sam_model.masks(image[0], corners, report=context.progress)
        mask = torch.from_numpy(segments.any(axis=0)).float()[None]
    return Ui({"segments": [len(boxes)], "used": [len(corners)]}, (mask, len(corners)))


@node("BoxesToMask", category="mask", display_name="Boxes to Mask")
def boxes_to_mask(boxes: Boxes, image: Image) -> Mask:
    """Select boxes whole."""
    return boxes.filled(*image.shape[1:3])
