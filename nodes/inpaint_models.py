"""Inpainting and outpainting in ComfyUI's nodes (graph-protocol g.5). Focal's own way is in `nodes.inpaint`."""

from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor

from engine.node import node
from engine.types import Widget
from models.files.resize import resize
from models.images import crop
from nodes.sockets import Conditioning, Image, Latent, Mask, Vae
from nodes.vae import CELL

MAX_SIDE = 16384

Padding = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0, step=8)]


@node(
    "InpaintModelConditioning",
    category="conditioning/inpaint",
    outputs=("positive", "negative", "latent"),
)
def condition_inpaint_model(
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    pixels: Image,
    mask: Mask,
    noise_mask: Annotated[bool, Widget(default=True)],
) -> tuple[Conditioning, Conditioning, Latent]:
    """Tell an inpainting model what is around the mask, and make the latent to repaint.

    Models without extra input channels, all that Focal loads so far, are not told; they repaint the latent all the
    same. noise_mask: repaint only what is masked.
    """
    height, width = pixels.shape[1:3]
    fitted = resize(mask.reshape(-1, 1, *mask.shape[-2:]), width, height, "bilinear").movedim(1, -1)  # (B, H, W, 1)
    picture, hole = crop(pixels[..., :3], CELL), crop(fitted, CELL)
    kept = 1.0 - hole.round()
    cells = hole.movedim(-1, 1)
    facts = {"concat_latent_image": vae.encode((picture - 0.5) * kept + 0.5), "concat_mask": cells}
    latent: dict[str, Any] = {"samples": vae.encode(picture)}
    if noise_mask:
        latent["noise_mask"] = cells
    told = [[[context, {**known, **facts}] for context, known in words] for words in (positive, negative)]
    return told[0], told[1], latent


@node("ImagePadForOutpaint", category="image", display_name="Pad Image for Outpainting")
def pad_image_for_outpaint(
    image: Image,
    left: Padding,
    top: Padding,
    right: Padding,
    bottom: Padding,
    feathering: Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=40)],
) -> tuple[Image, Mask]:
    """Put a picture on a larger grey canvas. The mask selects what is new and fades into the picture.

    feathering: how many pixels it fades over, on the sides that were extended.
    """
    batch, height, width, channels = image.shape
    canvas = torch.full((batch, top + height + bottom, left + width + right, channels), 0.5)
    canvas[:, top : top + height, left : left + width] = image
    mask = torch.ones(1, *canvas.shape[1:3])
    faded = _faded(height, width, (left, top, right, bottom), feathering)
    mask[0, top : top + height, left : left + width] = faded
    return canvas, mask


def _faded(height: int, width: int, padding: tuple[int, int, int, int], feathering: int) -> Tensor:
    """The mask within the picture: 1 at its extended sides, 0 farther in. A picture too small for it stays unmasked."""
    inside = torch.zeros(height, width)
    if feathering <= 0 or 2 * feathering >= min(height, width):
        return inside
    left, top, right, bottom = padding
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    # The first pixel from the left or top is 0 away, the last one 1: ComfyUI's ramps are not symmetric.
    ways = ((left, columns), (top, rows), (right, width - columns), (bottom, height - rows))
    far = torch.tensor(feathering)
    nearest = far.expand(height, width)
    for extended, distance in ways:
        if extended:
            nearest = torch.minimum(nearest, distance.expand(height, width))
    return ((far - nearest) / feathering) ** 2
