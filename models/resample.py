"""Resizing pictures (B, H, W, 3) as Fooocus does it: Pillow's Lanczos on 8-bit values (Fooocus behaviour §5.0)."""

import torch
from torch import Tensor

from models.files.resize import resize


def lanczos(image: Tensor, width: int, height: int) -> Tensor:
    """Stretch to a size. Values are cut to 8 bits first, not rounded. Returns float32, 0..1."""
    return resize(image.movedim(-1, 1), width, height, "lanczos").movedim(1, -1).contiguous()


def cover(image: Tensor, width: int, height: int) -> Tensor:
    """Resize so that the picture covers width × height, and cut what stands out, centred."""
    source_height, source_width = image.shape[1:3]
    if width / height > source_width / source_height:
        inner_width, inner_height = width, source_height * width // source_width
    else:
        inner_width, inner_height = source_width * height // source_height, height
    inner = lanczos(image, inner_width, inner_height)
    left, top = width // 2 - inner_width // 2, height // 2 - inner_height // 2
    canvas = torch.zeros(len(image), height, width, 3)
    kept = inner[:, -min(top, 0) :, -min(left, 0) :][:, :height, :width]
    top, left = max(top, 0), max(left, 0)
    canvas[:, top : top + kept.shape[1], left : left + kept.shape[2]] = kept[:, : height - top, : width - left]
    return canvas
