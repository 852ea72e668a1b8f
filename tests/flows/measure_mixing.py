"""Control pictures together with another flow, in figures: `python -m tests.flows.measure_mixing --count 8`.

Each flow takes something from its own picture that the control cannot say, its colours, and edges from the control
picture that are not its own. Held-out scenes, the tiny preset's defaults, the product's own path. Prints JSON.
"""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from graphs.request_parts import ImagePrompt, Inpaint
from models.tiny.measure import measure
from models.tiny.scenes import Scene, Size, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measure_control import SIDE, agreement, mean
from tests.flows.measure_inpaint import mask_picture, outside
from tests.flows.measuring import arguments, darkroom, held_combinations, show

ENLARGED = 0.7  # of the noise where the input is enlarged; the default 0.382 is meant to leave edges where they are


@dataclass
class Mixed:
    """edges: F1 against the control picture. alone: the same flow without control.

    own: the share of pictures with the background of the input, which no prompt names; for inpaint, that besides equal
    the input bit for bit outside of the soft mask.
    """

    edges: float
    alone: float
    own: float
    size_right: float
    pictures: int


def vary_mixed(room: Darkroom, count: int, seed: int = 5) -> Mixed:
    """Vary a large object in the middle, under the edges of another large one."""
    asked = {"uov_method": "Vary (Subtle)", "prompt": ""}
    return _mixed(room, count, seed, asked, (SIDE, SIDE), "large")


def upscale_mixed(room: Darkroom, count: int, seed: int = 6) -> Mixed:
    """Enlarge a large object by 1.5, under the edges of a small one."""
    asked = {"uov_method": "Upscale (1.5x)", "overwrite_upscale_strength": ENLARGED, "prompt": ""}
    return _mixed(room, count, seed, asked, (SIDE * 3 // 2, SIDE * 3 // 2))


def inpaint_mixed(room: Darkroom, count: int, seed: int = 8) -> Mixed:
    """Repaint an object under the edges of another one."""
    mask = room.put(mask_picture(), "mixed-mask.png").name
    asked = {"inpaint": Inpaint(mask=mask, engine="None"), "prompt": ""}
    return _mixed(room, count, seed, asked, (SIDE, SIDE))


def _mixed(
    room: Darkroom, count: int, seed: int, asked: dict, size: tuple[int, int], object_size: Size = "small"
) -> Mixed:
    rng = random.Random(seed)
    held = held_combinations(rng)
    edges, alone, own, sizes = [], [], [], []
    for number, (shape, colour, background) in enumerate(held[:count]):
        wanted = draw(Scene(background, (Thing(shape, colour, object_size, "center"),)), SIDE, SIDE, rng)
        given = _input(asked, background, colour, shape, rng)
        common = asked | {"input_image": room.put(given, f"mixed-{number}.png"), "seed": seed + number}
        steer = ImagePrompt(room.put(wanted, f"mixed-control-{number}.png"), "PyraCanny", stop=1.0)
        (both,) = room.make(**common, image_prompts=[steer])
        (plain,) = room.make(**common)
        target = wanted.resize(size, Image.Resampling.LANCZOS)
        edges.append(agreement(both, target))
        alone.append(agreement(plain, target))
        kept = np.array_equal(outside(both), outside(given)) if "inpaint" in asked else True
        own.append(kept and measure(both).background == background)
        sizes.append(both.size == size)
    return Mixed(mean(edges), mean(alone), mean(own), mean(sizes), 2 * count)


def _input(asked: dict, background: str, colour: str, shape: str, rng: random.Random) -> Image.Image:
    """A large object of the same colours, or for inpaint one that the mask hides."""
    other = "square" if shape in ("circle", "ring") else "circle"
    size = "small" if "inpaint" in asked else "large"
    return draw(Scene(background, (Thing(other, colour, size, "center"),)), SIDE, SIDE, rng)


def main() -> None:
    args = arguments(__doc__, 8, "scenes per flow; two pictures each").parse_args()
    with darkroom(args.models) as room:
        flows = {"vary": vary_mixed, "upscale": upscale_mixed, "inpaint": inpaint_mixed}
        figures = {name: flow(room, args.count).__dict__ for name, flow in flows.items()}
    show(figures)


if __name__ == "__main__":
    main()
