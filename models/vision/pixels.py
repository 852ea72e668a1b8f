"""Pictures in the size that an image encoder reads."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def stretched(pixels: np.ndarray, side: int) -> Tensor:
    """Squeeze an 8-bit picture (H, W, 3) into a square with Lanczos (Fooocus behaviour §5.6): (side, side, 3), 0..1."""
    return torch.from_numpy(resized(pixels, side, side)).float() / 255


def resized(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bring an 8-bit picture (H, W, 3) to a size with Lanczos."""
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS))


def cropped(image: Tensor, side: int, center: bool) -> Tensor:
    """ComfyUI's way: (B, H, W, C), 0..1, to squares, bicubic with antialiasing, rounded to 8 bits (protocol §g.5)."""
    pixels = image[..., :3].movedim(-1, 1)
    height, width = pixels.shape[-2:]
    if (height, width) != (side, side):
        scale = side / min(height, width)
        size = (round(scale * height), round(scale * width)) if center else (side, side)
        pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
        top, left = (pixels.shape[-2] - side) // 2, (pixels.shape[-1] - side) // 2
        pixels = pixels[..., top : top + side, left : left + side]
    return (pixels.clamp(0, 1) * 255).round().div(255).movedim(1, -1)
