"""The scene language the tiny model speaks: pictures of one or two flat shapes, and the sentences that describe them.

Pure and seeded: the same `random.Random` gives the same scene, picture and caption. See
docs/explanation/scene-language.md.
"""

import math
import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

Shape = Literal["circle", "square", "triangle", "star", "cross", "ring"]
Size = Literal["small", "large"]
Place = Literal["left", "right", "top", "bottom", "center"]
Arrangement = Literal["beside", "stacked"]
Rgb = tuple[int, int, int]

SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
PLACES: tuple[Place, ...] = ("left", "right", "top", "bottom", "center")
SIZES: tuple[Size, ...] = ("small", "large")
ARRANGEMENTS: tuple[Arrangement, ...] = ("beside", "stacked")
COLOURS: dict[str, Rgb] = {
    "red": (220, 30, 30),
    "green": (30, 170, 50),
    "blue": (40, 70, 220),
    "yellow": (245, 220, 40),
    "purple": (140, 40, 170),
    "orange": (245, 140, 25),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
BACKGROUNDS: dict[str, Rgb] = {
    "white": (240, 240, 240),
    "black": (16, 16, 16),
    "gray": (128, 128, 128),
    "pink": (250, 170, 190),
    "cyan": (90, 210, 220),
    "brown": (120, 75, 40),
    "blue": (25, 45, 150),
    "green": (20, 105, 45),
}

# Outer radius as a fraction of the shorter picture side. The gap between the two sizes is what `measure` decides by.
RADIUS: dict[Size, tuple[float, float]] = {"small": (0.15, 0.19), "large": (0.29, 0.35)}
RADIUS_OF_TWO = (0.15, 0.21)  # two objects share the picture, so neither is small nor large
CENTRE: dict[Place, tuple[float, float]] = {
    "left": (0.27, 0.5),
    "right": (0.73, 0.5),
    "top": (0.5, 0.27),
    "bottom": (0.5, 0.73),
    "center": (0.5, 0.5),
}
JITTER = {True: 0.03, False: 0.06}  # of the picture side, by "is the place said?"
COLOUR_JITTER = 10
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Thing:
    """One shape of one colour. `size` and `place` are None where the scene leaves them open."""

    shape: Shape
    colour: str
    size: Size | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Scene:
    """One or two things on a background. Of two, the first is the left ("beside") or the upper one ("stacked")."""

    background: str
    things: tuple[Thing, ...]
    arrangement: Arrangement | None = None


def held_out(shape: str, colour: str, background: str) -> bool:
    """True for the combinations that training never sees: one in seven, spread evenly over all attributes."""
    lists: tuple[list[str], ...] = ([*SHAPES], [*COLOURS], [*BACKGROUNDS])
    s, c, b = (values.index(name) for values, name in zip(lists, (shape, colour, background), strict=True))
    return (s + 2 * c + 3 * b) % 7 == 3


def combinations(held: bool) -> list[tuple[Shape, str, str]]:
    """List every visible (shape, colour, background) that is, or is not, held out."""
    return [
        (shape, colour, background)
        for shape in SHAPES
        for colour in COLOURS
        for background in BACKGROUNDS
        if colour != background and held_out(shape, colour, background) == held
    ]


def random_scene(rng: random.Random, two: float = 0.35) -> Scene:
    """Draw a training scene, with two things at probability `two`; nothing held out is ever in it."""
    if rng.random() < two:
        while True:
            background = rng.choice(list(BACKGROUNDS))
            things = (_random_thing(rng, background), _random_thing(rng, background))
            if things[0].colour != things[1].colour:
                return Scene(background, things, rng.choice(ARRANGEMENTS))
    background = rng.choice(list(BACKGROUNDS))
    place = rng.choice(PLACES) if rng.random() < 0.6 else None
    return Scene(background, (_random_thing(rng, background, rng.choice(SIZES), place),))


def _random_thing(rng: random.Random, background: str, size: Size | None = None, place: Place | None = None) -> Thing:
    while True:
        shape, colour = rng.choice(SHAPES), rng.choice(list(COLOURS))
        if colour != background and not held_out(shape, colour, background):
            return Thing(shape, colour, size, place)


# ------------------------------------------------------------------------------------------------ pictures


def draw(scene: Scene, width: int, height: int, rng: random.Random) -> Image.Image:
    """Paint the scene at `width` x `height` pixels; place, radius and colours vary a little with `rng`."""
    w, h = width * SUPERSAMPLING, height * SUPERSAMPLING
    background = _jittered(BACKGROUNDS[scene.background], rng)
    picture = Image.new("RGB", (w, h), background)
    pen = ImageDraw.Draw(picture)
    for thing, (x, y), radius in zip(scene.things, *_layout(scene, w, h, rng), strict=True):
        _paint(pen, thing.shape, x, y, radius, _jittered(COLOURS[thing.colour], rng), background)
    return picture.resize((width, height), Image.Resampling.BOX)


def _layout(scene: Scene, w: int, h: int, rng: random.Random) -> tuple[list[tuple[float, float]], list[float]]:
    """Choose centres and radii in pixels, every thing wholly inside the picture."""
    short = min(w, h)
    if scene.arrangement is None:
        thing = scene.things[0]
        radius = rng.uniform(*RADIUS[thing.size or rng.choice(SIZES)]) * short
        jitter = JITTER[thing.place is not None]
        x, y = CENTRE[thing.place or "center"]
        x, y = x + rng.uniform(-jitter, jitter), y + rng.uniform(-jitter, jitter)
        return [_inside(x * w, y * h, radius, w, h)], [radius]
    centres, radii = [], []
    for place in ("left", "right") if scene.arrangement == "beside" else ("top", "bottom"):
        radius = rng.uniform(*RADIUS_OF_TWO) * short
        x, y = CENTRE[place]
        x, y = x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02)
        centres.append(_inside(x * w, y * h, radius, w, h))
        radii.append(radius)
    return centres, radii


def _inside(x: float, y: float, radius: float, w: int, h: int) -> tuple[float, float]:
    margin = radius * 1.04
    return min(max(x, margin), w - margin), min(max(y, margin), h - margin)


def _paint(pen: ImageDraw.ImageDraw, shape: Shape, x: float, y: float, r: float, fill: Rgb, hole: Rgb) -> None:
    """Paint one shape of outer radius `r` (about equal in extent for all shapes)."""
    match shape:
        case "circle":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        case "ring":
            inner = 0.55 * r
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
            pen.ellipse((x - inner, y - inner, x + inner, y + inner), fill=hole)
        case "square":
            q = 0.9 * r
            pen.rectangle((x - q, y - q, x + q, y + q), fill=fill)
        case "triangle":
            pen.polygon([(x, y - r), (x - r, y + 0.85 * r), (x + r, y + 0.85 * r)], fill=fill)
        case "cross":
            a = 0.34 * r
            pen.rectangle((x - r, y - a, x + r, y + a), fill=fill)
            pen.rectangle((x - a, y - r, x + a, y + r), fill=fill)
        case "star":
            tips = [(r if k % 2 == 0 else 0.42 * r, math.pi * (k / 5 - 0.5)) for k in range(10)]
            pen.polygon([(x + 1.04 * d * math.cos(a), y + 1.04 * d * math.sin(a)) for d, a in tips], fill=fill)


def _jittered(colour: Rgb, rng: random.Random) -> Rgb:
    r, g, b = (min(255, max(0, v + rng.randint(-COLOUR_JITTER, COLOUR_JITTER))) for v in colour)
    return r, g, b
