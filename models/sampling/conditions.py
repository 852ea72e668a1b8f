"""Conditioning made ready for a run: everything that does not change from step to step is computed here, once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models.errors import ModelError
from models.sampling.parameterization import Parameterization
from models.text.size import SizeNumbers, size_vector

VAE_FACTOR = 8  # pixels per latent cell
SMALLEST_AREA = 8  # latent cells of each side of an area made from a mask
FEATHER = 8  # latent cells over which an area without a mask fades out

NEGATIVE, POSITIVE = 0, 1


class MissingPooledText(ModelError):
    """A conditioning without the pooled text that SDXL needs."""

    code = "missing_pooled_text"


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


@dataclass(frozen=True)
class Entry:
    """One conditioning of one branch, for one picture.

    context: (1, T, C). y_early and y_late: (1, A), the size conditioning before and after its switch. weight: (1, 1,
    h, w) or None for everywhere alike. The entry holds where sigma_last ≤ sigma ≤ sigma_first.
    """

    branch: int
    context: Tensor
    y_early: Tensor
    y_late: Tensor
    area: Area
    weight: Tensor | None
    sigma_first: float
    sigma_last: float

    def holds_at(self, sigma: float) -> bool:
        return self.sigma_last <= sigma <= self.sigma_first


@dataclass(frozen=True)
class Frame:
    """What all entries of a run share: the latent's size, the model's widths, where tensors live."""

    height: int
    width: int
    adm_channels: int
    parameterization: Parameterization
    device: torch.device
    dtype: torch.dtype


def prepare(branch: int, conditioning: Sequence[Sequence[Any]], frame: Frame, size_scale: float | None) -> list[Entry]:
    """Prepare a CONDITIONING list. size_scale: Fooocus's factor on the original size, None for ComfyUI's rule."""
    return [_entry(branch, context, facts, frame, size_scale) for context, facts in conditioning]


def _entry(branch: int, context: Tensor, facts: dict[str, Any], frame: Frame, size_scale: float | None) -> Entry:
    area = _area(facts, frame)
    percent = frame.parameterization.percent_to_sigma
    y_early, y_late = _size_vectors(facts, frame, size_scale)
    return Entry(
        branch=branch,
        context=context.to(device=frame.device, dtype=frame.dtype),
        y_early=y_early,
        y_late=y_late,
        area=area,
        weight=_weight(facts, area, frame),
        sigma_first=percent(facts["start_percent"]) if "start_percent" in facts else float("inf"),
        sigma_last=percent(facts["end_percent"]) if "end_percent" in facts else 0.0,
    )


def _size_vectors(facts: dict[str, Any], frame: Frame, size_scale: float | None) -> tuple[Tensor, Tensor]:
    pooled = facts.get("pooled_output")
    if pooled is None:
        raise MissingPooledText(
            "A conditioning has no pooled text, which SDXL needs.", "Encode the prompt with the model's own CLIP."
        )
    height = int(facts.get("height", frame.height * VAE_FACTOR))
    width = int(facts.get("width", frame.width * VAE_FACTOR))

    def vector(numbers: SizeNumbers) -> Tensor:
        return size_vector(pooled.float(), numbers, frame.adm_channels).to(device=frame.device, dtype=frame.dtype)

    if size_scale is not None:
        return vector(SizeNumbers.emphasised(height, width, size_scale)), vector(SizeNumbers.consistent(height, width))
    plain = vector(
        SizeNumbers(
            height,
            width,
            int(facts.get("crop_h", 0)),
            int(facts.get("crop_w", 0)),
            int(facts.get("target_height", height)),
            int(facts.get("target_width", width)),
        )
    )
    return plain, plain


def _area(facts: dict[str, Any], frame: Frame) -> Area:
    area = facts.get("area")
    if facts.get("set_area_to_bounds") and facts.get("mask") is not None:
        return _bounds(resize_mask(facts["mask"], frame.height, frame.width), frame)
    if area is None:
        return Area(frame.height, frame.width, 0, 0)
    if area[0] == "percentage":
        _, height, width, top, left = area
        sizes = (frame.height, frame.width)
        cells = (max(1, round(height * sizes[0])), max(1, round(width * sizes[1])))
        area = (*cells, round(top * sizes[0]), round(left * sizes[1]))
    height, width, top, left = (int(value) for value in area)
    return _inside(height, width, top, left, frame)


def _inside(height: int, width: int, top: int, left: int, frame: Frame) -> Area:
    top, left = min(top, frame.height - 1), min(left, frame.width - 1)
    return Area(min(height, frame.height - top), min(width, frame.width - left), top, left)


def _bounds(mask: Tensor, frame: Frame) -> Area:
    """The rectangle around everything in a mask, at least 8 cells on each side."""
    rows, columns = (mask.abs().amax((0, 1, dim)).nonzero().flatten().tolist() for dim in (3, 2))
    if not rows:
        return _inside(SMALLEST_AREA, SMALLEST_AREA, 0, 0, frame)
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    return _inside(max(height, SMALLEST_AREA), max(width, SMALLEST_AREA), rows[0], columns[0], frame)


def _weight(facts: dict[str, Any], area: Area, frame: Frame) -> Tensor | None:
    """strength·mask, or strength with feathered edges for an area without a mask."""
    strength, mask = float(facts.get("strength", 1.0)), facts.get("mask")
    whole = area == Area(frame.height, frame.width, 0, 0)
    if mask is None and whole and strength == 1.0:
        return None
    if mask is not None:
        mask = resize_mask(mask, frame.height, frame.width).to(frame.device) * float(facts.get("mask_strength", 1.0))
        return area.of(mask) * strength
    weight = torch.full((1, 1, area.height, area.width), strength)
    _feather(weight, area, frame)
    return weight.to(frame.device)


def _feather(weight: Tensor, area: Area, frame: Frame) -> None:
    """Fade an area out, in place, towards the edges that are not the picture's own."""
    spans = ((2, area.top, area.height, frame.height), (3, area.left, area.width, frame.width))
    for dimension, start, size, limit in spans:
        ramp = min(FEATHER, size // 4)
        for cell in range(ramp):
            if start != 0:
                weight.narrow(dimension, cell, 1).mul_((cell + 1) / ramp)
            if start + size < limit:
                weight.narrow(dimension, size - 1 - cell, 1).mul_((cell + 1) / ramp)


def resize_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask (H, W), (B, H, W) or (B, 1, H, W) to float32 (B, 1, height, width), bilinear."""
    mask = mask.float().reshape(-1, 1, *mask.shape[-2:])
    if mask.shape[-2:] == (height, width):
        return mask
    return F.interpolate(mask, size=(height, width), mode="bilinear")


def match_areas(entries: list[Entry], others: list[Entry]) -> list[Entry]:
    """Give one branch a twin for every partial area of the other, made from its smallest entry around that area."""
    matched = list(entries)
    for other in others:
        around = [entry for entry in matched if entry.area.encloses(other.area)]
        if not around:
            continue
        smallest = min(around, key=lambda entry: entry.area.cells)
        if smallest.area != other.area:
            twin = {"context": smallest.context, "y_early": smallest.y_early, "y_late": smallest.y_late}
            matched.append(replace(other, branch=smallest.branch, **twin))
    return matched
