"""Between pixels and latents in tiles, for pictures that are too large for the memory."""

from typing import Annotated

from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models.tiles import Tiling
from nodes.sockets import Image, Latent, Vae

Overlap = Annotated[int, Meta(ge=0, le=4096), Widget(default=64, step=32)]
# Of video autoencoders; there are none here, but graphs made in ComfyUI carry them.
Frames = Annotated[int, Meta(ge=8, le=4096), Widget(default=64, step=4)]
FrameOverlap = Annotated[int, Meta(ge=4, le=4096), Widget(default=8, step=4)]


@node("VAEDecodeTiled", category="_for_testing", display_name="VAE Decode (Tiled)")
def decode_tiled(
    samples: Latent,
    vae: Vae,
    tile_size: Annotated[int, Meta(ge=64, le=4096), Widget(default=512, step=32)],
    overlap: Overlap,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
) -> Image:
    """Turn latents into pictures in tiles: three passes with tiles of different proportions, averaged.

    tile_size, overlap: pixels; the overlap is at most a quarter of the tile.
    """
    return vae.decode(samples["samples"], tiled=Tiling(tile_size, overlap))


@node("VAEEncodeTiled", category="_for_testing", display_name="VAE Encode (Tiled)")
def encode_tiled(
    pixels: Image,
    vae: Vae,
    tile_size: Annotated[int, Meta(ge=64, le=4096), Widget(default=512, step=64)],
    overlap: Overlap,
    temporal_size: Frames = 64,
    temporal_overlap: FrameOverlap = 8,
) -> Latent:
    """Turn pictures into latents in tiles, in the same way. Sides are cut to multiples of 8, from the middle."""
    return {"samples": vae.encode(pixels[..., :3], tiled=Tiling(tile_size, overlap))}
