"""Where to repaint: masks put together, grown, padded, softened."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.resample import lanczos

SELECTED_OVER = 127 / 255  # of a painted mask
FALLOFF_PX, FALLOFF_STEP = 32, 8  # the soft mask loses 8 of 256 with every pixel outwards
CELL_PX = 8  # per latent cell


def selected(picture: Tensor, width: int, height: int) -> Tensor:
    """Read a painted mask: a pixel counts where the mean or the red of it is above 127.

    picture: (B, h, w, 3), stretched to the size first. Returns (B, height, width). The red is Fooocus' brush, the
    mean its uploaded mask; it joins the two.
    """
    fitted = picture if tuple(picture.shape[1:3]) == (height, width) else lanczos(picture, width, height)
    return ((fitted.mean(-1) > SELECTED_OVER) | (fitted[..., 0] > SELECTED_OVER)).float()


def grown(mask: Tensor, pixels: int) -> Tensor:
    """Grow a mask by so many pixels in every direction, corners too; shrink it when negative.

    What lies outside of the picture neither grows in nor eats away.
    """
    if pixels == 0:
        return mask
    sign = 1.0 if pixels > 0 else -1.0  # shrinking is growing the rest
    spread = mask[:, None] * sign
    for _ in range(min(abs(pixels), max(mask.shape[-2:]))):
        spread = F.max_pool2d(spread, 3, stride=1, padding=1)
    return (spread * sign)[:, 0]


def padded(image: Tensor, mask: Tensor, left: int, top: int, right: int, bottom: int) -> tuple[Tensor, Tensor]:
    """Enlarge a picture by so many pixels per side; its edge pixels are repeated there, and the mask selects them."""
    rows = torch.arange(-top, image.shape[1] + bottom).clamp(0, image.shape[1] - 1)
    columns = torch.arange(-left, image.shape[2] + right).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns], F.pad(mask, (left, right, top, bottom), value=1.0)


def softened(mask: Tensor) -> np.ndarray:
    """Fade a mask out over 32 pixels around it. Returns uint8 (B, H, W): 255 inside, 256 - 8·d at distance d."""
    soft = np.where(mask.numpy() > SELECTED_OVER, np.int16(256), np.int16(0))
    for _ in range(FALLOFF_PX):
        soft = np.maximum(soft, _dilated(soft) - FALLOFF_STEP)
    return soft.clip(0, 255).astype(np.uint8)


def _dilated(values: np.ndarray) -> np.ndarray:
    """The largest of each pixel and its eight neighbours."""
    for axis in (-2, -1):
        lines = np.moveaxis(values, axis, 0)
        out = lines.copy()
        np.maximum(out[1:], lines[:-1], out=out[1:])
        np.maximum(out[:-1], lines[1:], out=out[:-1])
        values = np.moveaxis(out, 0, axis)
    return values


def latent_mask(mask: Tensor, rows: int, columns: int) -> Tensor:
    """The cells that hold any pixel of a mask. Returns (B, 1, rows, columns), 0 and 1."""
    size = (rows * CELL_PX, columns * CELL_PX)
    fitted = F.interpolate(mask[:, None], size=size, mode="bilinear").round()
    return F.max_pool2d(fitted, CELL_PX).round()
