"""How pictures follow their control pictures, in figures: `python -m tests.flows.measure_control --count 24`.

Held-out scenes at places that the prompt does not name, the tiny preset's defaults, the product's own path. Prints the
figures as JSON.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from graphs.request_parts import ImagePrompt, ImagePromptType, InputImage
from models.control.canny import canny
from models.tiny.captions import plain_caption
from models.tiny.measure import measure
from models.tiny.scenes import PLACES, SHAPES, SIZES, Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
TOLERANCE_PX = 2
THRESHOLDS = 64, 128  # of the edges that are compared, on the Sobel magnitude of 8-bit channels
STOPS = (0.3, 0.5, 0.7, 1.0)


@dataclass
class Figures:
    """How well edges agree (F1 at 2 px), on average.

    by_stop: at weight 1, under a prompt that names no place, which the model takes for "in the middle", where no object
    is. unsteered: the same at weight 0. place_said: at the default stop, where the prompt does not contradict.
    other_shape: to the end, where the prompt names another shape than the picture shows. colours: share of the pictures
    steered to the end that have the prompt's colours.
    """

    by_stop: dict[float, float]
    unsteered: float
    place_said: float
    other_shape: float
    colours: float
    pictures: int


def scenes(count: int, seed: int) -> list[Scene]:
    """One object off the centre, where the model does not put it unasked."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    places = [place for place in PLACES if place != "center"]
    return [Scene(b, (Thing(s, c, rng.choice(SIZES), rng.choice(places)),)) for s, c, b in held[:count]]


def control_figures(
    room: Darkroom, kind: ImagePromptType, count: int, seed: int = 7, stops: Sequence[float] = STOPS
) -> Figures:
    """Steer `count` pictures by drawings: at every stop, without weight, with the place said, with another shape."""
    rng = random.Random(seed)
    found: dict[float, list[float]] = {stop: [] for stop in stops}
    unsteered, said_too, other, colours = [], [], [], []
    for number, scene in enumerate(scenes(count, seed)):
        drawn = draw(scene, SIDE, SIDE, rng)
        picture = room.put(drawn, f"control-{number}.png")
        (thing,) = scene.things
        asked = {"prompt": said(scene.background, thing.shape, thing.colour), "seed": seed + number}
        for stop, values in found.items():
            made = steered(room, picture, kind, stop=stop, **asked)
            values.append(agreement(made, drawn))
            if stop == 1.0:
                colours.append(has_colours(made, scene))
        unsteered.append(agreement(steered(room, picture, kind, weight=0.0, **asked), drawn))
        asked["prompt"] = said(scene.background, thing.shape, thing.colour, thing.place)
        said_too.append(agreement(steered(room, picture, kind, **asked), drawn))
        shape = rng.choice([shape for shape in SHAPES if shape != thing.shape])
        asked["prompt"] = said(scene.background, shape, thing.colour)
        other.append(agreement(steered(room, picture, kind, stop=1.0, **asked), drawn))
    by_stop = {stop: mean(values) for stop, values in found.items()}
    return Figures(by_stop, mean(unsteered), mean(said_too), mean(other), mean(colours), count * (len(stops) + 3))


def mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def said(background: str, shape: Any, colour: str, place: Any = None) -> str:
    """A prompt without size."""
    return plain_caption(Scene(background, (Thing(shape, colour, None, place),)))


def steered(
    room: Darkroom,
    picture: InputImage,
    kind: ImagePromptType,
    *,
    stop: float | None = None,
    weight: float | None = None,
    **asked: Any,
) -> Image.Image:
    (made,) = room.make(image_prompts=[ImagePrompt(picture, kind, stop, weight)], **asked)
    return made


def edges(picture: Image.Image) -> np.ndarray:
    """Where any channel has an edge, (H, W)."""
    pixels = np.asarray(picture.convert("RGB"))
    return np.any([canny(pixels[..., channel], *THRESHOLDS) for channel in range(3)], axis=0)


def agreement(made: Image.Image, wanted: Image.Image) -> float:
    """F1 of the edges of one picture against another's: an edge counts as met within 2 pixels."""
    mine, theirs = edges(made), edges(wanted)
    if not mine.any() or not theirs.any():
        return 0.0
    to_theirs, to_mine = (ndimage.distance_transform_edt(~part) for part in (theirs, mine))
    precision = (to_theirs[mine] <= TOLERANCE_PX).mean()
    recall = (to_mine[theirs] <= TOLERANCE_PX).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def has_colours(picture: Image.Image, scene: Scene) -> bool:
    seen = measure(picture)
    return seen.background == scene.background and [t.colour for t in seen.found] == [scene.things[0].colour]


def main() -> None:
    parser = arguments(__doc__, 24, "scenes; seven pictures each")
    parser.add_argument("--kind", choices=("PyraCanny", "CPDS"), default="PyraCanny")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    with darkroom(args.models) as room:
        figures = control_figures(room, args.kind, args.count, args.seed)
    show(figures.__dict__)


if __name__ == "__main__":
    main()
