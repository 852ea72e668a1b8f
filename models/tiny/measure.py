"""Read a scene back from a picture's pixels: plain arithmetic, nothing learned.

Background: the median of the picture's border. Object: the pixels nearer to the object's colour than to the background.
Shape: the drawn template that the object's outline, scaled to its bounding box, differs least from.
"""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from models.tiny.scenes import BACKGROUNDS, COLOURS, SHAPES, Arrangement, Place, Scene, Shape, Size, Thing, draw

BORDER_PX = 4
CONTRAST = (
    40.0  # RGB distance from the background at which a pixel may be object; the closest pair of the palette is 90 apart
)
FEWEST_PX = 40
TEMPLATE_PX = 24
SIZE_LIMIT = 0.235  # radius / shorter side: between the largest "small" 0.19 and the smallest "large" 0.29
PLACE_LIMIT = 0.085  # centre offset / side: between "center" 0.03 (0.06 when unsaid) and the least "left" 0.136
Pixels = np.ndarray  # (H, W, 3) float32, 0..255


@dataclass(frozen=True)
class Found:
    """One object as measured: all None when there is none."""

    shape: Shape | None = None
    colour: str | None = None
    size: Size | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Reading:
    """What a picture shows."""

    background: str
    found: tuple[Found, ...]


def measure(picture: Image.Image, arrangement: Arrangement | None = None) -> Reading:
    """Read one object, or with an arrangement the first and second of two, each from its half of the picture."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    background = _background(pixels)
    height, width, _ = pixels.shape
    halves = {
        None: (pixels,),
        "beside": (pixels[:, : width // 2], pixels[:, width // 2 :]),
        "stacked": (pixels[: height // 2], pixels[height // 2 :]),
    }[arrangement]
    return Reading(
        _nearest(background, BACKGROUNDS), tuple(_object(part, background, min(width, height)) for part in halves)
    )


def agreement(scene: Scene, reading: Reading) -> dict[str, bool]:
    """Compare a scene with a reading. Keys: background, and per kind of scene what it says."""
    result = {"background": reading.background == scene.background}
    if scene.arrangement:
        pairs = list(zip(scene.things, reading.found, strict=True))
        result["two colours"] = all(thing.colour == found.colour for thing, found in pairs)
        result["two shapes"] = all(thing.shape == found.shape for thing, found in pairs)
        return result
    thing, found = scene.things[0], reading.found[0]
    for name in ("colour", "shape", "size", "place"):
        if getattr(thing, name) is not None:
            result[name] = getattr(thing, name) == getattr(found, name)
    return result


def _background(pixels: Pixels) -> np.ndarray:
    b = BORDER_PX
    edges = (pixels[:b], pixels[-b:], pixels[:, :b], pixels[:, -b:])
    return np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)


def _nearest(colour: np.ndarray, palette: dict[str, tuple[int, int, int]]) -> str:
    return min(palette, key=lambda name: float(((np.array(palette[name]) - colour) ** 2).sum()))


def _object(pixels: Pixels, background: np.ndarray, short: int) -> Found:
    mask, colour = _mask(pixels, background)
    if mask is None or colour is None:
        return Found()
    top, bottom, left, right = _box(mask)
    height, width = mask.shape
    radius = max(bottom - top, right - left) / 2 / short
    dx, dy = (left + right) / 2 / width - 0.5, (top + bottom) / 2 / height - 0.5
    return Found(
        shape=_shape(mask[top:bottom, left:right]),
        colour=_nearest(colour, COLOURS),
        size="small" if radius < SIZE_LIMIT else "large",
        place=_place(dx, dy),
    )


def _mask(pixels: Pixels, background: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the object's pixels (H, W) bool and its colour, or None twice."""
    distance = np.sqrt(((pixels - background) ** 2).sum(-1))
    rough = _despeckled(distance > CONTRAST)
    if rough.sum() < FEWEST_PX:
        return None, None
    core = rough & (distance >= np.median(distance[rough]))  # the farther half: no blurred edges
    colour = np.median(pixels[core], axis=0)
    mask = _despeckled(rough & (((pixels - colour) ** 2).sum(-1) < distance**2))
    return (mask, colour) if mask.sum() >= FEWEST_PX else (None, None)


def _despeckled(mask: np.ndarray) -> np.ndarray:
    """Remove single pixels and holes of one pixel."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(3))) > 127


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right of the rows and columns that hold at least two object pixels."""
    rows, columns = np.flatnonzero(mask.sum(1) >= 2), np.flatnonzero(mask.sum(0) >= 2)
    if not len(rows) or not len(columns):
        return 0, mask.shape[0], 0, mask.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _place(dx: float, dy: float) -> Place:
    if max(abs(dx), abs(dy)) < PLACE_LIMIT:
        return "center"
    if abs(dx) >= abs(dy):
        return "left" if dx < 0 else "right"
    return "top" if dy < 0 else "bottom"


def _outline(mask: np.ndarray) -> np.ndarray:
    """Scale a cut-out mask to the template's size, 0..1."""
    scaled = Image.fromarray(mask.astype(np.uint8) * 255).resize((TEMPLATE_PX, TEMPLATE_PX), Image.Resampling.BOX)
    return np.asarray(scaled, dtype=np.float32) / 255


def _shape(cut: np.ndarray) -> Shape:
    outline = _outline(cut)
    return min(_templates(), key=lambda shape: float(((_templates()[shape] - outline) ** 2).sum()))


@cache
def _templates() -> dict[Shape, np.ndarray]:
    """Draw every shape once, large and black on white."""
    templates: dict[Shape, np.ndarray] = {}
    for shape in SHAPES:
        scene = Scene("white", (Thing(shape, "black", "large", "center"),))
        dark = np.asarray(draw(scene, 256, 256, random.Random(0)).convert("L")) < 128
        top, bottom, left, right = _box(dark)
        templates[shape] = _outline(dark[top:bottom, left:right])
    return templates
