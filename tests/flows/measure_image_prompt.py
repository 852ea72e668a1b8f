"""What of a reference picture arrives, in figures: `python -m tests.flows.measure_image_prompt --count 24`.

Held-out scenes as references, prompts that say nothing, the tiny preset's defaults, the product's own path. Prints the
figures as JSON.
"""

import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from graphs.request_parts import ImagePrompt, Preprocessing
from models.tiny.evaluate import double_scenes
from models.tiny.measure import measure
from models.tiny.scenes import BACKGROUNDS, COLOURS, PLACES, SIZES, Scene, Thing, draw
from tests.flows.darkroom import Darkroom
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.6, 1.0)
STOPS = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
GENERIC = "a picture of a shape"
NEAR = 36  # largest difference of a channel at which a pixel counts as of a colour
MARGIN = 1.2  # of a close-up: its half side in radii of the object


@dataclass
class Carried:
    """Shares of the pictures that show what the reference shows."""

    background: float
    colour: float
    shape: float

    @property
    def mean(self) -> float:
        return (self.background + self.colour + self.shape) / 3


@dataclass
class Figures:
    """empty, generic: at the default weight 0.6 and stop 0.5, without a prompt and with one that names nothing.

    heavy, full: at weight 1, which is v2's default, with stop 0.5 and 1. by_weight, by_stop: mean share of
    background, colour and shape that arrives, without a prompt, at stop 1 and at weight 1. two: shares of the
    pictures that show the colours, and the shapes, of both of two references, each in its place; and that show both
    colours anywhere. face: a close-up on another background as FaceSwap, whose prompt says background and place:
    shares that show the close-up's colour and shape, and the prompt's background.
    """

    empty: Carried
    generic: Carried
    heavy: Carried
    full: Carried
    by_weight: dict[float, float]
    by_stop: dict[float, float]
    two: dict[str, float]
    face: Carried
    pictures: int


def scenes(count: int, seed: int) -> list[Scene]:
    """One object each, of combinations that no training has seen."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    chosen = [held[i % len(held)] for i in range(count)]
    return [Scene(b, (Thing(s, c, rng.choice(SIZES), rng.choice(PLACES)),)) for s, c, b in chosen]


def carried(
    room: Darkroom,
    wanted: Sequence[Scene],
    references: Sequence[Image.Image],
    prompts: Sequence[str],
    *,
    kind: Any = "ImagePrompt",
    weight: float | None = None,
    stop: float | None = None,
    seed: int = 0,
) -> Carried:
    """Make a picture of each reference and compare it with the scene that is wanted."""
    hits = {"background": 0, "colour": 0, "shape": 0}
    for number, (scene, reference, prompt) in enumerate(zip(wanted, references, prompts, strict=True)):
        image = room.put(reference, f"reference-{number}.png")
        (made,) = room.make(
            prompt=prompt,
            seed=seed + number,
            image_prompts=[ImagePrompt(image, kind, stop, weight)],
            preprocessing=Preprocessing(skip=kind == "FaceSwap"),
        )
        reading = measure(made)
        hits["background"] += reading.background == scene.background
        hits["colour"] += reading.found[0].colour == scene.things[0].colour
        hits["shape"] += reading.found[0].shape == scene.things[0].shape
    return Carried(**{name: round(count / len(wanted), 4) for name, count in hits.items()})


def two_references(room: Darkroom, count: int, seed: int) -> dict[str, float]:
    """Show each of two objects, on one background, in a picture of its own."""
    rng = random.Random(seed)
    hits = {"background": 0, "both colours": 0, "both shapes": 0, "both colours anywhere": 0}
    for number, scene in enumerate(double_scenes(count, rng)):
        places = ("left", "right") if scene.arrangement == "beside" else ("top", "bottom")
        prompts = []
        for thing, place in zip(scene.things, places, strict=True):
            alone = Scene(scene.background, (Thing(thing.shape, thing.colour, "small", place),))
            image = room.put(draw(alone, SIDE, SIDE, rng), f"two-{number}-{place}.png")
            prompts.append(ImagePrompt(image, "ImagePrompt"))
        (made,) = room.make(prompt="", seed=seed + number, image_prompts=prompts)
        reading = measure(made, scene.arrangement)
        pairs = list(zip(scene.things, reading.found, strict=True))
        hits["background"] += reading.background == scene.background
        hits["both colours"] += all(thing.colour == found.colour for thing, found in pairs)
        hits["both shapes"] += all(thing.shape == found.shape for thing, found in pairs)
        hits["both colours anywhere"] += all(shows(made, thing.colour) for thing in scene.things)
    return {name: round(found / count, 4) for name, found in hits.items()}


def shows(picture: Image.Image, colour: str) -> bool:
    """Tell whether a palette's colour covers at least a hundredth of a picture."""
    distance = np.abs(np.asarray(picture.convert("RGB"), dtype=np.float32) - COLOURS[colour]).max(-1)
    return float((distance < NEAR).mean()) >= 0.01


def close_up(thing: Thing, rng: random.Random) -> Image.Image:
    """The object alone on some background, cut close."""
    background = rng.choice([name for name in BACKGROUNDS if name != thing.colour])
    picture = draw(Scene(background, (Thing(thing.shape, thing.colour, "large", "center"),)), 256, 256, rng)
    half = round(MARGIN * 0.32 * 256)
    return picture.crop((128 - half, 128 - half, 128 + half, 128 + half))


def faces(room: Darkroom, count: int, seed: int) -> Carried:
    """Give a close-up as the face, and a prompt that says all but colour and shape."""
    rng = random.Random(seed)
    wanted = scenes(count, seed)
    said = []
    for scene in wanted:
        (thing,) = scene.things
        where = {"center": "in the center", "left": "on the left", "right": "on the right", "top": "at the top"}
        place = where.get(thing.place or "center", "at the bottom")
        said.append(f"a {thing.size} shape {place} on a {scene.background} background")
    closeups = [close_up(scene.things[0], rng) for scene in wanted]
    return carried(room, wanted, closeups, said, kind="FaceSwap", seed=seed)


def image_prompt_figures(
    room: Darkroom,
    count: int,
    seed: int = 7,
    weights: Sequence[float] = WEIGHTS,
    stops: Sequence[float] = STOPS,
) -> Figures:
    """Measure everything on the same held-out scenes."""
    rng = random.Random(seed)
    wanted = scenes(count, seed)
    references = [draw(scene, SIDE, SIDE, rng) for scene in wanted]

    def of(prompt: str = "", **asked: Any) -> Carried:
        return carried(room, wanted, references, [prompt] * count, seed=seed, **asked)

    return Figures(
        empty=of(),
        generic=of(GENERIC),
        heavy=of(weight=1.0),
        full=of(weight=1.0, stop=1.0),
        by_weight={weight: round(of(weight=weight, stop=1.0).mean, 4) for weight in weights},
        by_stop={stop: round(of(weight=1.0, stop=stop).mean, 4) for stop in stops},
        two=two_references(room, count, seed),
        face=faces(room, count, seed),
        pictures=count * (6 + len(weights) + len(stops)),
    )


def main() -> None:
    parser = arguments(__doc__, 24, "references")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", choices=("empty", "full", "two", "face"), help="one figure alone")
    parser.add_argument("--sheet", type=Path, help="write references and results side by side")
    args = parser.parse_args()
    with darkroom(args.models) as room:
        if args.sheet:
            write_sheet(room, args.count, args.seed, args.sheet)
        elif args.only:
            sys.stdout.write(json.dumps(_one(room, args.only, args.count, args.seed)) + "\n")
        else:
            figures = image_prompt_figures(room, args.count, args.seed)
            show(asdict(figures))


def _one(room: Darkroom, which: str, count: int, seed: int) -> dict[str, float]:
    if which == "two":
        return two_references(room, count, seed)
    if which == "face":
        return asdict(faces(room, count, seed))
    rng, wanted = random.Random(seed), scenes(count, seed)
    references = [draw(scene, SIDE, SIDE, rng) for scene in wanted]
    strength = {"weight": 1.0, "stop": 1.0} if which == "full" else {}
    return asdict(carried(room, wanted, references, [""] * count, seed=seed, **strength))


def write_sheet(room: Darkroom, count: int, seed: int, path: Path) -> None:
    """References in the first row, what is made of them in the second."""
    rng = random.Random(seed)
    references = [draw(scene, SIDE, SIDE, rng) for scene in scenes(count, seed)]
    made = [
        room.make(prompt="", seed=seed + n, image_prompts=[ImagePrompt(room.put(r, f"sheet-{n}.png"))])[0]
        for n, r in enumerate(references)
    ]
    sheet = Image.new("RGB", (count * (SIDE + 4), 2 * (SIDE + 4)), "white")
    for row, pictures in enumerate((references, made)):
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (column * (SIDE + 4) + 2, row * (SIDE + 4) + 2))
    sheet.save(path)


if __name__ == "__main__":
    main()
