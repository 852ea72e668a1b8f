"""Where and when a prompt acts."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.node import node
from engine.types import Widget
from nodes.sockets import Conditioning, Mask

MAX_SIDE = 16384
CELL = 8  # pixels per latent cell

Side = Annotated[int, Meta(ge=64, le=MAX_SIDE), Widget(default=64, step=8)]
Place = Annotated[int, Meta(ge=0, le=MAX_SIDE), Widget(default=0, step=8)]
Share = Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.01)]
Offset = Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.0, step=0.01)]
Strength = Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=1.0, step=0.01)]


def _with(conditioning: Conditioning, **facts: Any) -> Conditioning:
    return [[context, {**known, **facts}] for context, known in conditioning]


@node("ConditioningSetArea", category="conditioning", display_name="Conditioning (Set Area)")
def set_area(
    conditioning: Conditioning, width: Side, height: Side, x: Place, y: Place, strength: Strength
) -> Conditioning:
    """Let a prompt act in a rectangle only (pixels)."""
    area = (height // CELL, width // CELL, y // CELL, x // CELL)
    return _with(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node("ConditioningSetAreaPercentage", category="conditioning", display_name="Conditioning (Set Area with Percentage)")
def set_area_percentage(
    conditioning: Conditioning, width: Share, height: Share, x: Offset, y: Offset, strength: Strength
) -> Conditioning:
    """Let a prompt act in a rectangle only, given as shares of the picture's sides."""
    area = ("percentage", height, width, y, x)
    return _with(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@node("ConditioningSetAreaStrength", category="conditioning", display_name="ConditioningSetAreaStrength")
def set_area_strength(conditioning: Conditioning, strength: Strength) -> Conditioning:
    """Weigh a prompt against others that act in the same place."""
    return _with(conditioning, strength=strength)


@node("ConditioningSetMask", category="conditioning", display_name="Conditioning (Set Mask)")
def set_mask(
    conditioning: Conditioning, mask: Mask, strength: Strength, set_cond_area: Literal["default", "mask bounds"]
) -> Conditioning:
    """Let a prompt act where a mask says. "mask bounds" shows the model only the rectangle around the mask."""
    facts = {"mask": mask.reshape(-1, *mask.shape[-2:]), "mask_strength": strength}
    return _with(conditioning, **facts, set_area_to_bounds=set_cond_area == "mask bounds")


@node("ConditioningSetTimestepRange", category="advanced/conditioning")
def set_timestep_range(
    conditioning: Conditioning,
    start: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.0, step=0.001)],
    end: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.001)],
) -> Conditioning:
    """Let a prompt act during a part of the run only: 0 is the beginning, 1 the end."""
    return _with(conditioning, start_percent=start, end_percent=end)
