"""Between pixels and latents."""

from typing import Annotated

import torch
from msgspec import Meta
from torch.nn import functional as F

from engine.node import node
from engine.types import Widget
from models.files.resize import resize
from models.images import crop
from nodes.sockets import Image, Latent, Mask, Vae

CELL = 8  # pixels per latent cell


@node("VAEDecode", category="latent", display_name="VAE Decode")
def decode_latent(samples: Latent, vae: Vae) -> Image:
    """Turn latents into pictures.

    samples: (B, 4, H/8, W/8). Returns (B, H, W, 3) float32 in 0..1.
    Raises NonFiniteOutput when the VAE overflows even in float32.
    """
    return vae.decode(samples["samples"])


@node("VAEEncode", category="latent", display_name="VAE Encode")
def encode_image(pixels: Image, vae: Vae) -> Latent:
    """Turn pictures into latents: the mean of the posterior. Sides are cut to multiples of 8, from the middle."""
    return {"samples": vae.encode(pixels[..., :3])}


@node("VAEEncodeForInpaint", category="latent/inpaint", display_name="VAE Encode (for Inpainting)")
def encode_for_inpaint(
    pixels: Image, vae: Vae, mask: Mask, grow_mask_by: Annotated[int, Meta(ge=0, le=64), Widget(default=6)]
) -> Latent:
    """Turn a picture into a latent with the masked part greyed out, and a noise mask grown by so many pixels."""
    height, width = pixels.shape[1:3]
    fitted = resize(mask.reshape(-1, 1, *mask.shape[-2:]), width, height, "bilinear").movedim(1, -1)  # (B, H, W, 1)
    picture, hole = crop(pixels[..., :3], CELL), crop(fitted, CELL).round()
    grown = hole.movedim(-1, 1)
    if grow_mask_by > 0:
        kernel = torch.ones(1, 1, grow_mask_by, grow_mask_by)
        grown = F.conv2d(grown, kernel, padding=-(-(grow_mask_by - 1) // 2)).clamp(0, 1)
    grown = grown[..., : picture.shape[1], : picture.shape[2]]  # an even kernel gives a row and a column more
    return {"samples": vae.encode((picture - 0.5) * (1.0 - hole) + 0.5), "noise_mask": grown}
