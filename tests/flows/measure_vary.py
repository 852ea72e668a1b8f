"""How Vary treats a picture, in figures: `python -m tests.flows.measure_vary --count 20`.

Held-out scenes, the tiny preset's defaults, the product's own path. Prints the figures as JSON.
"""

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from models.tiny.captions import plain_caption
from models.tiny.measure import measure
from models.tiny.scenes import COLOURS, PLACES, Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels, psnr
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
SAME_PLACE = 0.06  # of the side: as far as drawings of one place differ; the places are 0.23 from the middle
CONTRAST = 0.2
STRENGTHS = {"overwritten 0.2": 0.2, "Vary (Subtle)": None, "Vary (Strong)": None, "overwritten 1.0": 1.0}


@dataclass
class Figures:
    """similarity: PSNR to the input in dB, by strength, under a prompt that names no place (the model takes that for
    "in the middle", where no object is). kept: shares of the pictures that Subtle makes without a prompt, so that only
    the input can say what is where. new colour: share of the pictures that take the prompt's colour."""

    similarity: dict[str, float]
    position_kept_by_subtle: float
    shape_kept_by_subtle: float
    new_colour_wins_under_strong: float
    pictures: int


def scenes(count: int, seed: int) -> list[Scene]:
    """Small objects off the centre: where a model that ignored its input would not put them by chance."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    places = [place for place in PLACES if place != "center"]
    return [Scene(b, (Thing(s, c, "small", rng.choice(places)),)) for s, c, b in held[:count]]


def vary_figures(room: Darkroom, count: int, seed: int = 7, strengths: dict[str, float | None] = STRENGTHS) -> Figures:
    """Vary `count` drawn scenes, each at every strength, without a prompt, and with another colour."""
    rng = random.Random(seed)
    similar: dict[str, list[float]] = {name: [] for name in strengths}
    kept, shape, colour = [], [], []
    for number, scene in enumerate(scenes(count, seed)):
        drawn = draw(scene, SIDE, SIDE, rng)
        (thing,) = scene.things
        asked = {
            "input_image": room.put(drawn, f"{number}.png"),
            "prompt": plain_caption(Scene(scene.background, (Thing(thing.shape, thing.colour),))),
            "seed": seed + number,
        }
        for name, strength in strengths.items():
            picture = _varied(room, name, strength, asked)
            similar[name].append(psnr(pixels(picture), pixels(drawn)))
        picture = _varied(room, "Vary (Subtle)", None, asked | {"prompt": ""})
        kept.append(np.abs(centre(picture) - centre(drawn)).max() <= SAME_PLACE)
        shape.append(measure(picture).found[0].shape == thing.shape)
        other = rng.choice([name for name in COLOURS if name not in (thing.colour, scene.background)])
        recoloured = plain_caption(Scene(scene.background, (Thing(thing.shape, other),)))
        picture = _varied(room, "Vary (Strong)", None, asked | {"prompt": recoloured})
        colour.append(measure(picture).found[0].colour == other)
    return Figures(
        {name: round(sum(values) / len(values), 2) for name, values in similar.items()},
        sum(kept) / count,
        sum(shape) / count,
        sum(colour) / count,
        count * (len(strengths) + 2),
    )


def centre(picture: Image.Image) -> np.ndarray:
    """Centre of what differs from the picture's border, as shares of height and width; no object is far from any."""
    values = pixels(picture)
    background = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]), axis=0)
    rows, columns = np.nonzero(np.abs(values - background).max(axis=-1) > CONTRAST)
    if not len(rows):
        return np.array([9.0, 9.0])
    return np.array([np.median(rows) / values.shape[0], np.median(columns) / values.shape[1]])


def _varied(room: Darkroom, name: str, strength: float | None, asked: dict[str, object]) -> Image.Image:
    method = name if strength is None else "Vary (Subtle)"
    (picture,) = room.make(uov_method=method, overwrite_vary_strength=-1 if strength is None else strength, **asked)
    return picture


def main() -> None:
    parser = arguments(__doc__, 20, "scenes; six pictures each")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with darkroom(args.models) as room:
        figures = vary_figures(room, args.count, args.seed)
    show(figures.__dict__)


if __name__ == "__main__":
    main()
