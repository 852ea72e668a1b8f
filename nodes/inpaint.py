"""Repainting a part of one picture as Fooocus does it: mask, surroundings, working size, fill, pasting back."""

from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Widget
from models.inpaint import area as areas
from models.inpaint import masks
from models.inpaint.engine import UNTIL, apply_engine
from models.inpaint.fill import filled
from models.inpaint.paste import pasted
from models.inpaint.working import fitted, greyed, is_small
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sockets import Image, Latent, Mask, Model, UpscaleModel, Vae

MAX_SIDE = 16384
MAX_GROWTH_PX = 256

Padding = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0, step=8)]
EngineFile = Annotated[str, Choices(lambda: model_names("inpaint"))]
Area = Annotated[areas.Area, Socket("INPAINT_AREA")]
LazyImage = Annotated[Tensor, Socket("IMAGE", lazy=True)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


@node("AssembleMask", category="image/inpaint", display_name="Assemble Mask")
def assemble_mask(
    image: Image,
    mask_image: Image | None = None,
    erode_or_dilate: Annotated[int, Meta(ge=-MAX_GROWTH_PX, le=MAX_GROWTH_PX)] = 0,
    invert: bool = False,
) -> Mask:
    """Read a painted mask for a picture: white is repainted.

    mask_image: stretched to the picture; a pixel counts where its mean or its red is above 127. Without one, nothing is
    selected. erode_or_dilate: grow the mask by so many pixels, or shrink it when negative. invert: afterwards, select
    the rest.
    """
    height, width = image.shape[1:3]
    mask = torch.zeros(1, height, width)
    if mask_image is not None:
        mask = masks.selected(mask_image[:1], width, height)
    mask = masks.grown(mask, erode_or_dilate)
    return 1.0 - mask if invert else mask


@node("PadForOutpaint", category="image/inpaint", display_name="Pad for Outpaint", outputs=("IMAGE", "MASK"))
def pad_for_outpaint(
    image: Image, mask: Mask, left: Padding, top: Padding, right: Padding, bottom: Padding
) -> tuple[Image, Mask]:
    """Enlarge a picture by so many pixels per side, repeating its edges; what is new is added to the mask."""
    return masks.padded(image, mask, left, top, right, bottom)


@node(
    "CropForInpaint",
    category="image/inpaint",
    display_name="Crop for Inpaint",
    outputs=("IMAGE", "MASK", "INPAINT_AREA"),
)
def crop_for_inpaint(
    image: Image,
    mask: Mask,
    context: Context,
    upscale_model: UpscaleModel | None = None,
    respective_field: Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.001)] = 1.0,
    base_size: Annotated[int, Meta(ge=64, le=MAX_SIDE), Widget(step=64)] = 1024,
) -> tuple[Image, Mask, Area]:
    """Cut out what the model shall see of a picture, at the size that the model was made for.

    respective_field: from 0, closely around the mask, to 1, the whole picture. upscale_model: enlarges an area that is
    smaller than base_size's class before it is resized. Raises EmptyMask.
    """
    area = areas.interested_area(mask, respective_field)
    cut = area.of(image)
    if upscale_model is not None and is_small(cut, base_size):
        cut = upscale_model.upscale(cut, report=context.progress)
    return *fitted(cut, area.of(mask), base_size), area


@node("FillMasked", category="image/inpaint", display_name="Fill Masked Area")
def fill_masked(image: Image, mask: Mask) -> Image:
    """Fill the masked part of a picture with its surroundings, blurred inwards."""
    return filled(image, mask)


@node("EncodeInpaint", category="latent/inpaint", display_name="Encode for Inpaint")
def encode_for_inpaint(image: Image, mask: Mask, vae: Vae, disable_initial_latent: bool = False) -> Latent:
    """Turn a picture into a latent of which only the masked cells are repainted.

    disable_initial_latent: start from nothing inside the mask instead of from the picture.
    """
    samples = vae.encode(image[..., :3])
    cells = masks.latent_mask(mask, *samples.shape[-2:])
    # Outside of the mask every step starts from the picture anyway, so only the inside has to be emptied.
    return {"samples": samples * (1.0 - cells) if disable_initial_latent else samples, "noise_mask": cells}


@node(
    "ApplyInpaintEngine",
    category="advanced/model",
    display_name="Apply Inpaint Engine",
    fingerprint=lambda head, patch, **_: (file_identity("inpaint", head), file_identity("inpaint", patch)),
)
def apply_inpaint_engine(
    model: Model,
    vae: Vae,
    image: Image,
    mask: Mask,
    head: EngineFile,
    patch: EngineFile,
    context: Context,
    until: Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.01)] = UNTIL,
) -> Model:
    """Make a model see the mask and what is around it, by Fooocus' inpaint files.

    image, mask: as from CropForInpaint, before filling. head, patch: fooocus_inpaint_head.pth and the .fooocus.patch of
    an engine. until: share of the steps after which the model finishes without the engine.
    """
    runtime: Runtime = context.runtime
    hidden = vae.encode(greyed(image[:1, ..., :3], mask))
    cells = masks.latent_mask(mask, *hidden.shape[-2:])
    head_path, patch_path = (runtime.folders.path("inpaint", name) for name in (head, patch))
    return apply_engine(model, head_path, patch_path, hidden, cells, until)


@node("PasteInpaint", category="image/inpaint", display_name="Paste Inpaint")
def paste_inpaint(image: Image, generated: Image, mask: Mask, area: Area) -> Image:
    """Put what was generated for an area back into the picture, faded out over 32 pixels around the mask.

    mask: of the whole picture. Farther out, the picture stays as it was, bit for bit.
    """
    return pasted(image[:1], generated, mask, area)


@node(
    "TakeIfMasked",
    category="image/inpaint",
    display_name="Take If Masked",
    outputs=("IMAGE", "CHANGED"),
    check_lazy=lambda mask, count=1, **_: ["changed"] if is_marked(mask, count) else [],
)
def take_if_masked(original: Image, mask: Mask, changed: LazyImage, count: Count = 1) -> tuple[Image, Image]:
    """Take the changed picture where a mask selects anything, else the original; then the changed one is never made.

    count: of the things that the mask was made of; 0 counts as an empty mask. The second output is the changed picture,
    or no picture at all (a batch of 0).
    """
    return (changed, changed) if is_marked(mask, count) else (original, original[:0])


def is_marked(mask: Mask, count: int) -> bool:
    """Whether there is anything to repaint."""
    return count > 0 and bool((mask > masks.SELECTED_OVER).any())
