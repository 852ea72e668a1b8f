"""Whether an inpaint engine's filling fits what is around it: `python -m tests.flows.measure_engine --count 12`.

Half of a large object is hidden by the mask and no prompt says what it is: only the surroundings can. Held-out scenes,
the tiny preset's defaults, the product's own path. Prints the figures as JSON.
"""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from graphs.request_parts import Inpaint
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measure_control import SIDE, mean
from tests.flows.measuring import arguments, darkroom, held_combinations, show

HALVES = ((64, 12, 120, 116), (8, 12, 64, 116), (12, 64, 116, 120), (12, 8, 116, 64))  # left, top, right, bottom
RIGHT_WITHIN = 0.2  # of a channel's range: such a pixel shows the colour that was there


@dataclass
class Fit:
    """Shares of the masked pixels that show what was hidden, with and without the engine; mean errors, 0..1."""

    right_with: float
    right_without: float
    error_with: float
    error_without: float
    pictures: int


def engine_figures(room: Darkroom, count: int, seed: int = 17) -> Fit:
    """Hide a half of `count` drawn objects and let both ways complete them."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    found: dict[str, list[tuple[float, float]]] = {"v2.6": [], "None": []}
    for number, (shape, colour, background) in enumerate(held[:count]):
        drawn = draw(Scene(background, (Thing(shape, colour, "large", "center"),)), SIDE, SIDE, rng)
        box = HALVES[number % len(HALVES)]
        mask = Image.new("L", (SIDE, SIDE))
        mask.paste(255, box)
        asked = {
            "prompt": "",
            "seed": seed + number,
            "input_image": room.put(drawn, f"hidden-{number}.png"),
        }
        name = room.put(mask, f"half-{number}.png").name
        for engine, rows in found.items():
            (made,) = room.make(**asked, inpaint=Inpaint(mask=name, engine=engine))
            off = np.abs(pixels(made.crop(box)) - pixels(drawn.crop(box)))
            rows.append((float((off.max(axis=-1) < RIGHT_WITHIN).mean()), float(off.mean())))
    (right, error), (right_alone, error_alone) = (zip(*rows, strict=True) for rows in found.values())
    return Fit(mean(right), mean(right_alone), mean(error), mean(error_alone), 2 * count)


def main() -> None:
    args = arguments(__doc__, 12, "scenes; two pictures each").parse_args()
    with darkroom(args.models) as room:
        figures = engine_figures(room, args.count)
    show(figures.__dict__)


if __name__ == "__main__":
    main()
