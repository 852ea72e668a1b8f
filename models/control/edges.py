"""ComfyUI's Canny node: edges of float pictures (graph-protocol g.5)."""

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from models.errors import ModelError

_GREY = (0.299, 0.587, 0.114)
_RADIUS = 2  # of the Gaussian, sigma 1
_TINY = 1e-6
_OUTSIDE = 0.001  # the magnitude beyond the border
_OCTANTS = ((0, 1), (1, 1), (1, 0), (1, -1))  # (rows, columns) towards a gradient of 0°, 45°, 90°, 135°


class BadThresholds(ModelError):
    """A lower threshold above the upper one."""

    code = "bad_thresholds"


def find_edges(image: Tensor, low: float, high: float) -> Tensor:
    """Return edges of (B, H, W, 3), 0..1, as 0 or 1 in three equal channels. Thresholds are on the Sobel magnitude.

    Of two equal pixels the left or upper one counts (kornia 0.9). Raises BadThresholds.
    """
    if low > high:
        raise BadThresholds(f"low_threshold {low} is above high_threshold {high}.", "Exchange them.")
    grey = (image[..., :3].float() * torch.tensor(_GREY)).sum(dim=-1)[:, None]
    dx, dy = _gradients(_smoothed(grey))
    magnitude = (dx * dx + dy * dy + _TINY).sqrt()
    ridges = magnitude * _is_ridge(magnitude, dx, dy)
    edges = torch.stack([torch.from_numpy(_connected(plane.numpy(), low, high)) for plane in ridges[:, 0]])
    return edges.float()[..., None].repeat(1, 1, 1, 3)


def _smoothed(grey: Tensor) -> Tensor:
    weights = torch.exp(-(torch.arange(-_RADIUS, _RADIUS + 1).float() ** 2) / 2)
    weights = weights / weights.sum()
    padded = F.pad(grey, (_RADIUS,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))


def _gradients(grey: Tensor) -> tuple[Tensor, Tensor]:
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    padded = F.pad(grey, (1,) * 4, mode="replicate")
    return F.conv2d(padded, across.view(1, 1, 3, 3)), F.conv2d(padded, across.t().reshape(1, 1, 3, 3))


def _is_ridge(magnitude: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    height, width = magnitude.shape[-2:]
    around = F.pad(magnitude, (1,) * 4, value=_OUTSIDE)
    octant = torch.round(torch.atan2(dy, dx) / (math.pi / 4)).long() % 4
    ridge = torch.zeros_like(magnitude, dtype=torch.bool)
    for index, (rows, columns) in enumerate(_OCTANTS):
        after = around[..., 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]
        before = around[..., 1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]
        straight = not (rows and columns)
        greatest = (magnitude > before) & ((magnitude >= after) if straight else (magnitude > after))
        ridge |= (octant == index) & greatest
    return ridge


def _connected(ridges: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keep weak pixels that touch a strong one, directly or through others."""
    labels = np.zeros(ridges.shape, dtype=np.intp)
    ndimage.label(ridges > low, np.ones((3, 3)), output=labels)
    kept = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    kept[labels[(ridges > high) & (ridges > low)]] = True
    return kept[labels]
