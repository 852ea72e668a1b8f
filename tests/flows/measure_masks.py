"""How well masks fit what is drawn, in figures: `python -m tests.flows.measure_masks --count 60`.

Held-out scenes, the graph that generate_mask runs, the tiny U²-Net. Prints the figures as JSON.
"""

import random
from dataclasses import asdict, dataclass

import numpy as np
from PIL import Image

from graphs.masks import mask_of
from graphs.request_parts import Masking
from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIZES = ((128, 128), (192, 128), (128, 192), (256, 256))
CONTRAST = 40  # of 255; where a picture differs more from its plain background, there is something


@dataclass
class Masked:
    """Intersection over union: mean and worst. size_kept: share of the masks that have the picture's size."""

    iou: float
    worst_iou: float
    size_kept: float
    pictures: int


def mask_figures(room: Darkroom, count: int, model: str = "u2net", seed: int = 17) -> Masked:
    """Find masks of drawn scenes of one or two things."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    shares, sizes = [], []
    for number, (shape, colour, background) in enumerate(held[:count]):
        drawn = draw(scene(rng, shape, colour, background, held), *SIZES[number % len(SIZES)], rng)
        found = mask(room, drawn, Masking(model=model), f"mask-{number}.png")
        shares.append(iou(np.asarray(found.convert("L")) > 127, things(drawn)))
        sizes.append(found.size == drawn.size)
    return Masked(round(float(np.mean(shares)), 3), round(min(shares), 3), float(np.mean(sizes)), len(shares))


def scene(rng: random.Random, shape: str, colour: str, background: str, held: list) -> Scene:
    """A held-out scene of one thing, or, one time in four, of two."""
    first = Thing(shape, colour, rng.choice(("small", "large")))  # type: ignore[arg-type]
    others = [(s, c) for s, c, b in held if b == background and c != colour]
    if rng.random() < 0.75 or not others:
        return Scene(background, (first,))
    things = Thing(first.shape, colour), Thing(*rng.choice(others))
    return Scene(background, things, rng.choice(("beside", "stacked")))


def mask(room: Darkroom, drawn: Image.Image, masking: Masking, name: str) -> Image.Image:
    """The mask of a picture, as the graph saves it."""
    graph, output = mask_of(room.put(drawn, name), masking, room.library.catalog)
    return room.run(graph.to_json(), [output])[0]


def things(picture: Image.Image) -> np.ndarray:
    """Where a drawn picture shows something: pixels unlike the plain background at its corner."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int64)
    return np.abs(pixels - pixels[0, 0]).max(-1) > CONTRAST


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((found & wanted).sum() / max(1, (found | wanted).sum()))


def main() -> None:
    args = arguments(__doc__, 48, "pictures; there are 48 held-out combinations").parse_args()
    with darkroom(args.models) as room:
        figures = {model: asdict(mask_figures(room, args.count, model)) for model in ("u2net", "isnet-general-use")}
    show(figures)


if __name__ == "__main__":
    main()
