"""How inpaint and outpaint treat a picture, in figures: `python -m tests.flows.measure_inpaint --count 20`.

Held-out scenes, the tiny preset's defaults, the product's own path; with `--engine None` the bare model. Prints the
figures as JSON.
"""

import random
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from graphs.request import Inpaint
from models.tiny.captions import plain_caption
from models.tiny.measure import measure
from models.tiny.scenes import BACKGROUNDS, COLOURS, Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
MASK = (36, 36, 92, 92)  # left, top, right, bottom; the small object in the middle lies inside
RIGHT_HALF = (72, 24, 120, 104)
ENGINE = "v2.6"
SOFT_PX = 32
SIDES = ("left", "top", "right", "bottom")


@dataclass
class Inpainted:
    """Shares of the pictures; steps between neighbouring pixels in 8-bit values."""

    colour_appears: float
    colour_and_shape_appear: float
    outside_equal: float
    size_kept: float
    seam_step: float
    own_step: float
    pictures: int


@dataclass
class Outpainted:
    """Shares of the pictures."""

    background_goes_on: float
    inner_part_equal: float
    size_right: float
    pictures: int


@dataclass
class Beside:
    """Shares of the pictures, in which something else is still to be seen."""

    colour_appears: float
    colour_and_shape_appear: float
    other_kept: float
    pictures: int


def inpaint_figures(room: Darkroom, count: int, engine: str = ENGINE, seed: int = 11) -> Inpainted:
    """Replace a drawn square by another thing of another colour, which the prompt names."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    rows = []
    mask = room.put(mask_picture(), "mask.png").name
    for number, (shape, colour, background) in enumerate(held[:count]):
        old = rng.choice([name for name in COLOURS if name not in (colour, background)])
        drawn = draw(Scene(background, (Thing("square", old, "small", "center"),)), SIDE, SIDE, rng)
        wanted = Scene(background, (Thing(shape, colour, "small", "center"),))
        (picture,) = room.make(
            prompt=plain_caption(wanted),
            seed=seed + number,
            input_image=room.put(drawn, f"inpaint-{number}.png"),
            inpaint=Inpaint(mask=mask, engine=engine),
        )
        found = measure(picture).found[0]
        equal = np.array_equal(outside(picture), outside(drawn))
        right = found.colour == colour, found.colour == colour and found.shape == shape
        rows.append((*right, equal, picture.size == drawn.size, seam_step(picture), steepest(drawn)))
    return Inpainted(*(round(float(np.mean(column)), 3) for column in zip(*rows, strict=True)), count)


def beside_figures(room: Darkroom, count: int, engine: str = ENGINE, seed: int = 12) -> Beside:
    """Put a thing beside one that is there; the prompt names the new one alone."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    rows = []
    mask = room.put(mask_picture(RIGHT_HALF), "right.png").name
    for number, (shape, colour, background) in enumerate(held[:count]):
        other = rng.choice([name for name in COLOURS if name not in (colour, background)])
        drawn = draw(Scene(background, (Thing("circle", other, "small", "left"),)), SIDE, SIDE, rng)
        (picture,) = room.make(
            prompt=plain_caption(Scene(background, (Thing(shape, colour),))),
            seed=seed + number,
            input_image=room.put(drawn, f"beside-{number}.png"),
            inpaint=Inpaint(mask=mask, engine=engine),
        )
        kept, new = measure(picture, "beside").found
        right = new.colour == colour, new.colour == colour and new.shape == shape
        rows.append((*right, (kept.colour, kept.shape) == (other, "circle")))
    return Beside(*(round(float(np.mean(column)), 3) for column in zip(*rows, strict=True)), count)


def outpaint_figures(room: Darkroom, count: int, engine: str = ENGINE, seed: int = 13) -> Outpainted:
    """Extend drawn pictures by 30 % on one side after the other; the prompt describes the picture."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    rows = []
    for number, (shape, colour, background) in enumerate(held[:count]):
        scene = Scene(background, (Thing(shape, colour, "small", "center"),))
        drawn, side = draw(scene, SIDE, SIDE, rng), SIDES[number % 4]
        (picture,) = room.make(
            prompt=plain_caption(scene),
            seed=seed + number,
            input_image=room.put(drawn, f"outpaint-{number}.png"),
            inpaint=Inpaint(outpaint=[side], engine=engine),
        )
        extra = int(SIDE * 0.3)
        left, top = extra * (side == "left"), extra * (side == "top")
        size = (SIDE + extra * (side in ("left", "right")), SIDE + extra * (side in ("top", "bottom")))
        values = np.asarray(picture.convert("RGB"))
        new = np.ones(values.shape[:2], bool)
        new[top : top + SIDE, left : left + SIDE] = False
        kept = ~soft_region(new)
        before = np.zeros_like(values)
        before[top : top + SIDE, left : left + SIDE] = np.asarray(drawn)
        equal = np.array_equal(values[kept], before[kept])
        rows.append((nearest(np.median(values[new], axis=0)) == background, equal, picture.size == size))
    return Outpainted(*(round(float(np.mean(column)), 3) for column in zip(*rows, strict=True)), count)


def mask_picture(box: tuple[int, int, int, int] = MASK) -> Image.Image:
    """White where to repaint."""
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, box)
    return mask


def outside(picture: Image.Image) -> np.ndarray:
    """The pixels that no repainting may touch."""
    return np.asarray(picture.convert("RGB"))[~soft_region(np.asarray(mask_picture()) > 0)]


def soft_region(mask: np.ndarray) -> np.ndarray:
    """Where the soft mask is not 0: less than 32 pixels from the mask, diagonals counting as one."""
    grown = Image.fromarray(mask.astype(np.uint8) * 255)
    shifts = range(1 - SOFT_PX, SOFT_PX)
    for axis in (0, 1):
        moved = [np.roll(np.pad(np.asarray(grown), SOFT_PX), shift, axis) for shift in shifts]
        grown = Image.fromarray(np.max(moved, axis=0)[SOFT_PX:-SOFT_PX, SOFT_PX:-SOFT_PX])
    return np.asarray(grown) > 0


def seam_step(picture: Image.Image) -> float:
    """Mean step from just inside the mask's edge to just outside, where the object does not reach."""
    left, top, right, bottom = MASK
    inner = np.asarray(picture.convert("RGB"), dtype=np.float64)
    across = [
        inner[top:bottom, left] - inner[top:bottom, left - 1],
        inner[top:bottom, right] - inner[top:bottom, right - 1],
        inner[top, left:right] - inner[top - 1, left:right],
        inner[bottom, left:right] - inner[bottom - 1, left:right],
    ]
    return float(np.abs(np.concatenate(across)).mean())


def steepest(picture: Image.Image) -> float:
    """The mean step along the outline of the picture's own object."""
    values = np.asarray(picture.convert("RGB"), dtype=np.float64)
    steps = np.abs(np.diff(values, axis=1)).mean(-1)
    return float(steps[steps > 8].mean())


def nearest(colour: np.ndarray) -> str:
    """The background that a colour is nearest to."""
    return min(BACKGROUNDS, key=lambda name: float(((np.array(BACKGROUNDS[name]) - colour) ** 2).sum()))


def main() -> None:
    parser = arguments(__doc__, 20, "pictures of each kind")
    parser.add_argument("--engine", default=ENGINE)
    args = parser.parse_args()
    with darkroom(args.models) as room:
        figures = {
            "inpaint": asdict(inpaint_figures(room, args.count, args.engine)),
            "beside": asdict(beside_figures(room, args.count, args.engine)),
            "outpaint": asdict(outpaint_figures(room, args.count, args.engine)),
        }
    show(figures)


if __name__ == "__main__":
    main()
