"""Where to repaint: masks put together, grown, padded, softened."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.resample import lanczos

SELECTED_OVER = 127 / 255  # of a painted mask
FALLOFF_PX = 32
FALLOFF = np.array([255, *range(248, -1, -8)], np.uint8)
"""The soft mask by distance, 0 … 32: 32 times, Fooocus gives each pixel its largest neighbour less 8, of 256."""

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
    inside = mask.numpy() > SELECTED_OVER
    if pixels > 0:
        out = _distances(inside, pixels + 1) <= pixels
    else:
        out = _distances(~inside, 1 - pixels) > -pixels
    return torch.from_numpy(out).float()


def padded(image: Tensor, mask: Tensor, left: int, top: int, right: int, bottom: int) -> tuple[Tensor, Tensor]:
    """Enlarge a picture by so many pixels per side; its edge pixels are repeated there, and the mask selects them."""
    rows = torch.arange(-top, image.shape[1] + bottom).clamp(0, image.shape[1] - 1)
    columns = torch.arange(-left, image.shape[2] + right).clamp(0, image.shape[2] - 1)
    return image[:, rows][:, :, columns], F.pad(mask, (left, right, top, bottom), value=1.0)


def softened(mask: Tensor) -> np.ndarray:
    """Fade a mask out over 32 pixels around it. Returns uint8 (B, H, W): 255 inside, 256 - 8·d at distance d."""
    return FALLOFF[_distances(mask.numpy() > SELECTED_OVER, FALLOFF_PX)]


def _distances(selected: np.ndarray, most: int) -> np.ndarray:
    """How many steps, diagonal ones too, each pixel of (B, H, W) is away from a selected one; `most` where farther.

    The shortest way goes one row on with every step, or one column. Four walks over the picture find both kinds.
    """
    steps = np.where(selected, np.uint16(0), np.uint16(most))
    for each in steps:
        for turned in (each, each.T):
            lines = np.ascontiguousarray(turned)
            _walk(lines)
            _walk(lines[::-1])
            turned[:] = lines
    return steps


def _walk(lines: np.ndarray) -> None:
    """Lower each line's values, in place, to one more than those next to them on the line before."""
    for before, line in pairwise(lines):
        near = before + np.uint16(1)
        np.minimum(line, near, out=line)
        np.minimum(line[1:], near[:-1], out=line[1:])
        np.minimum(line[:-1], near[1:], out=line[:-1])


def latent_mask(mask: Tensor, rows: int, columns: int) -> Tensor:
    """The cells that hold any pixel of a mask. Returns (B, 1, rows, columns), 0 and 1."""
    size = (rows * CELL_PX, columns * CELL_PX)
    fitted = F.interpolate(mask[:, None], size=size, mode="bilinear").round()
    return F.max_pool2d(fitted, CELL_PX).round()
