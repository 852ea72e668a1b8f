"""What enhancing does to a picture, in figures: `python -m tests.flows.measure_enhance --count 20`.

Held-out scenes of one thing, two stages with the tiny U²-Net: the first gives the thing another colour, the second that
one yet another. The tiny preset's defaults, the product's own path. Prints the figures as JSON.
"""

import random
import time
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from graphs.request_parts import Enhance, EnhanceStage, Masking
from models.tiny.captions import plain_caption
from models.tiny.measure import measure
from models.tiny.scenes import COLOURS, Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measure_inpaint import soft_region
from tests.flows.measure_masks import mask
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
MODEL = "u2net"
GROWN_PX = 6  # so that the old thing's edge is painted over as well


@dataclass
class Enhanced:
    """Shares of the pictures, but for seconds: of one picture with its two stages, the middle of all."""

    first_colour: float
    second_colour: float
    first_outside_equal: float
    second_outside_equal: float
    seconds: float
    pictures: int


def enhance_figures(room: Darkroom, count: int, seed: int = 19) -> Enhanced:
    """Send drawn pictures through two stages; compare each result with what the stage before it left."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    rows, seconds = [], []
    for number, (shape, colour, background) in enumerate(held[:count]):
        drawn = draw(Scene(background, (Thing(shape, colour, "small", "center"),)), SIDE, SIDE, rng)
        others = [c for s, c, b in held if s == shape and b == background and c != colour]
        others += [c for c in COLOURS if c not in (colour, background, *others)]
        started = time.monotonic()
        first, second = room.make(
            seed=seed + number,
            enhance=Enhance(
                image=room.put(drawn, f"enhance-{number}.png"),
                stages=[stage(shape, new, background) for new in others[:2]],
            ),
        )
        seconds.append(time.monotonic() - started)
        colours = (measure(result).found[0].colour for result in (first, second))
        right = [found == wanted for found, wanted in zip(colours, others[:2], strict=True)]
        equal = [same_outside(room, before, after) for before, after in ((drawn, first), (first, second))]
        rows.append((*right, *equal))
    shares = (round(float(np.mean(column)), 3) for column in zip(*rows, strict=True))
    return Enhanced(*shares, round(float(np.median(seconds)), 2), len(rows))


def stage(shape: str, colour: str, background: str) -> EnhanceStage:
    """Repaint what stands out, in another colour."""
    wanted = Scene(background, (Thing(shape, colour, "small", "center"),))  # type: ignore[arg-type]
    return EnhanceStage(
        Masking(MODEL), prompt=plain_caption(wanted), engine="None", respective_field=1.0, erode_or_dilate=GROWN_PX
    )


def same_outside(room: Darkroom, before: Image.Image, after: Image.Image) -> bool:
    """Whether a stage left alone, to the bit, what is 32 pixels or more away from the mask found in its picture."""
    found = np.asarray(mask(room, before, Masking(MODEL), "stage.png").convert("L")) > 127
    kept = ~soft_region(dilated(found, GROWN_PX))
    one, other = (np.asarray(picture.convert("RGB")) for picture in (before, after))
    return bool(kept.any()) and np.array_equal(one[kept], other[kept])


def dilated(found: np.ndarray, pixels: int) -> np.ndarray:
    """Grow a mask by so many pixels, corners too."""
    padded = np.pad(found, pixels)
    rows, columns = found.shape
    shifts = range(2 * pixels + 1)
    return np.any([padded[y : y + rows, x : x + columns] for y in shifts for x in shifts], axis=0)


def main() -> None:
    args = arguments(__doc__, 20, "pictures").parse_args()
    with darkroom(args.models) as room:
        figures = asdict(enhance_figures(room, args.count))
    show(figures)


if __name__ == "__main__":
    main()
