"""Masks: float32 (B, H, W), 1 = selected = to be repainted."""

from collections.abc import Callable
from typing import Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor
from torch.nn import functional as F

from engine.node import node
from engine.types import Widget
from nodes.sockets import Image, Mask

MAX_SIDE = 16384
CHANNELS = ("red", "green", "blue", "alpha")

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": lambda under, over: under * over,
    "add": lambda under, over: under + over,
    "subtract": lambda under, over: under - over,
    "and": lambda under, over: torch.logical_and(under.round(), over.round()).float(),
    "or": lambda under, over: torch.logical_or(under.round(), over.round()).float(),
    "xor": lambda under, over: torch.logical_xor(under.round(), over.round()).float(),
}

Side = Annotated[int, Meta(ge=1, le=MAX_SIDE), Widget(default=512)]
Place = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0)]


@node("MaskToImage", category="mask", display_name="Convert Mask to Image")
def mask_to_image(mask: Mask) -> Image:
    """Show a mask as a grey picture."""
    return mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3).clone()


@node("ImageToMask", category="mask", display_name="Convert Image to Mask")
def image_to_mask(image: Image, channel: Literal["red", "green", "blue", "alpha"]) -> Mask:
    """Take one channel of a picture as a mask."""
    return image[..., CHANNELS.index(channel)].clone()


@node("SolidMask", category="mask")
def solid_mask(
    value: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.01)], width: Side, height: Side
) -> Mask:
    """A mask of one value."""
    return torch.full((1, height, width), value)


@node("InvertMask", category="mask")
def invert_mask(mask: Mask) -> Mask:
    """Select what was not selected."""
    return 1.0 - mask


@node("ThresholdMask", category="mask")
def threshold_mask(mask: Mask, value: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.5, step=0.01)]) -> Mask:
    """1 where the mask is greater than the value, else 0."""
    return (mask > value).float()


@node("CropMask", category="mask")
def crop_mask(mask: Mask, x: Place, y: Place, width: Side, height: Side) -> Mask:
    """Cut a rectangle out of a mask (pixels)."""
    return mask.reshape(-1, *mask.shape[-2:])[:, y : y + height, x : x + width].clone()


@node("GrowMask", category="mask", display_name="Grow Mask")
def grow_mask(
    mask: Mask,
    expand: Annotated[int, Meta(ge=-MAX_SIDE, le=MAX_SIDE), Widget(default=0)],
    tapered_corners: Annotated[bool, Widget(default=True)],
) -> Mask:
    """Grow a mask by so many pixels, or shrink it if negative. Tapered corners grow as a diamond, else as a square."""
    grown = mask.reshape(-1, 1, *mask.shape[-2:])
    sign = 1.0 if expand >= 0 else -1.0  # eroding is dilating the rest
    grown = grown * sign
    for _ in range(min(abs(expand), max(grown.shape[-2:]))):
        grown = _spread(grown, diagonal=not tapered_corners)
    return (grown * sign)[:, 0]


@node("FeatherMask", category="mask", display_name="Feather Mask")
def feather_mask(mask: Mask, left: Place, top: Place, right: Place, bottom: Place) -> Mask:
    """Fade a mask out towards its sides, over so many pixels each. The ramps multiply where they meet.

    As in ComfyUI, the ramps of the right and the bottom start one pixel late and their last step, 1/n, falls on the
    first column or row.
    """
    faded = mask.reshape(-1, *mask.shape[-2:]).clone()
    height, width = faded.shape[-2:]
    left, right = min(left, width), min(right, width)
    top, bottom = min(top, height), min(bottom, height)
    for k in range(left):
        faded[:, :, k] *= (k + 1) / left
    for k in range(right):
        faded[:, :, -k] *= (k + 1) / right
    for k in range(top):
        faded[:, k, :] *= (k + 1) / top
    for k in range(bottom):
        faded[:, -k, :] *= (k + 1) / bottom
    return faded


@node("MaskComposite", category="mask", display_name="Mask Composite")
def compose_masks(
    destination: Mask,
    source: Mask,
    x: Place,
    y: Place,
    operation: Literal["multiply", "add", "subtract", "and", "or", "xor"],
) -> Mask:
    """Lay one mask over another at a place (pixels); what stands out is cut. and, or, xor round both to 0 and 1."""
    out = destination.reshape(-1, *destination.shape[-2:]).clone()
    over = source.reshape(-1, *source.shape[-2:])
    height, width = min(over.shape[1], out.shape[1] - y), min(over.shape[2], out.shape[2] - x)
    if height <= 0 or width <= 0:
        return out
    under, over = out[:, y : y + height, x : x + width], over[:, :height, :width]
    out[:, y : y + height, x : x + width] = OPERATIONS[operation](under, over)
    return out.clamp(0.0, 1.0)


@node("ImageColorToMask", category="mask", display_name="Image Color to Mask")
def colour_to_mask(
    image: Image, color: Annotated[int, Meta(ge=0, le=0xFFFFFF), Widget(default=0, extra={"display": "color"})]
) -> Mask:
    """Select the pixels of exactly one colour, 0xRRGGBB, of the picture rounded to 8 bits."""
    values = image[..., :3].clamp(0, 1).mul(255.0).round().to(torch.int64)
    found = (values[..., 0] << 16) + (values[..., 1] << 8) + values[..., 2]
    return (found == color).float()


def _spread(x: Tensor, *, diagonal: bool) -> Tensor:
    """Give each pixel the largest value of itself and its neighbours; outside the picture there are none."""
    if diagonal:
        return F.max_pool2d(x, 3, stride=1, padding=1)
    rows = F.max_pool2d(x, (3, 1), stride=1, padding=(1, 0))
    columns = F.max_pool2d(x, (1, 3), stride=1, padding=(0, 1))
    return torch.maximum(rows, columns)
