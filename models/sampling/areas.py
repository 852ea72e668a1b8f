"""Where in the picture a conditioning holds: rectangles and masks, in latent cells."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_AREA = 8  # latent cells of each side of an area made from a mask
FEATHER = 8  # latent cells over which an area without a mask fades out


class Size(NamedTuple):
    """A latent's sides, in cells."""

    height: int
    width: int


@dataclass(frozen=True)
class Area:
    """A rectangle of the latent, in cells."""

    height: int
    width: int
    top: int
    left: int

    @property
    def cells(self) -> int:
        return self.height * self.width

    def encloses(self, other: "Area") -> bool:
        rows = self.top <= other.top and other.top + other.height <= self.top + self.height
        columns = self.left <= other.left and other.left + other.width <= self.left + self.width
        return rows and columns

    def of(self, latent: Tensor) -> Tensor:
        return latent[..., self.top : self.top + self.height, self.left : self.left + self.width]


def area_of(facts: dict[str, Any], size: Size) -> Area:
    """The rectangle that a conditioning's facts name: its own, a mask's bounds, or the whole picture."""
    area = facts.get("area")
    if facts.get("set_area_to_bounds") and facts.get("mask") is not None:
        return _bounds(resize_mask(facts["mask"], size.height, size.width), size)
    if area is None:
        return Area(size.height, size.width, 0, 0)
    if area[0] == "percentage":
        _, height, width, top, left = area
        sizes = (size.height, size.width)
        cells = (max(1, round(height * sizes[0])), max(1, round(width * sizes[1])))
        area = (*cells, round(top * sizes[0]), round(left * sizes[1]))
    height, width, top, left = (int(value) for value in area)
    return _inside(height, width, top, left, size)


def _inside(height: int, width: int, top: int, left: int, size: Size) -> Area:
    top, left = min(top, size.height - 1), min(left, size.width - 1)
    return Area(min(height, size.height - top), min(width, size.width - left), top, left)


def _bounds(mask: Tensor, size: Size) -> Area:
    """The rectangle around everything in a mask, at least 8 cells on each side."""
    rows, columns = (mask.abs().amax((0, 1, dim)).nonzero().flatten().tolist() for dim in (3, 2))
    if not rows:
        return _inside(SMALLEST_AREA, SMALLEST_AREA, 0, 0, size)
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return _inside(max(height, SMALLEST_AREA), max(width, SMALLEST_AREA), rows[0], columns[0], size)


def weight_of(facts: dict[str, Any], area: Area, size: Size) -> Tensor | None:
    """strength·mask, or strength with feathered edges for an area without a mask."""
    strength, mask = float(facts.get("strength", 1.0)), facts.get("mask")
    whole = area == Area(size.height, size.width, 0, 0)
    if mask is None and whole and strength == 1.0:
        return None
    if mask is not None:
        mask = resize_mask(mask, size.height, size.width) * float(facts.get("mask_strength", 1.0))
        return area.of(mask) * strength
    weight = torch.full((1, 1, area.height, area.width), strength)
    _feather(weight, area, size)
    return weight


def _feather(weight: Tensor, area: Area, size: Size) -> None:
    """Fade an area out, in place, towards the edges that are not the picture's own."""
    spans = ((2, area.top, area.height, size.height), (3, area.left, area.width, size.width))
    for dimension, start, length, limit in spans:
        ramp = min(FEATHER, length // 4)
        for cell in range(ramp):
            if start != 0:
                weight.narrow(dimension, cell, 1).mul_((cell + 1) / ramp)
            if start + length < limit:
                weight.narrow(dimension, length - 1 - cell, 1).mul_((cell + 1) / ramp)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (H, W), (B, H, W) or (B, 1, H, W) to float32 (B, 1, height, width), bilinear."""
    mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
    if mask.shape[-2:] == (height, width):
        return mask
    return F.interpolate(mask, size=(height, width), mode="bilinear")
