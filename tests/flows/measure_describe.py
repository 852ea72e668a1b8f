"""Pictures put into words, blacked out, asked for in more words, in figures: `python -m tests.flows.measure_describe`.

Held-out scenes, the tiny models, the product's own path. Prints the figures as JSON.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from engine.events import Succeeded
from engine.jobs.messages import Run
from graphs.describe import describe
from models.tiny.captions import plain_caption
from models.tiny.measure import agreement, measure
from models.tiny.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing, draw
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measuring import arguments, darkroom, held_combinations, show

SIDE = 128
UNWANTED = ("star", "purple")  # the one concept of the tiny safety checker


@dataclass
class Described:
    """Shares of the pictures whose words name the colour, the shape, the background, all three; size and place too.

    right of tags: no tag of shape, colour or background is missing, and none is there that should not be.
    """

    colour: float
    shape: float
    background: float
    all_three: float
    size: float
    place: float
    right_tags: float
    pictures: int


def scenes(count: int, seed: int) -> list[Scene]:
    """Combinations that no recipe has seen, of every size and place."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    chosen = [held[number % len(held)] for number in range(count)]
    return [Scene(b, (Thing(s, c, rng.choice(SIZES), rng.choice(PLACES)),)) for s, c, b in chosen]


def words_of(room: Darkroom, picture: Image.Image, kinds: Sequence[str]) -> str:
    """Describe a picture as the routes do."""
    graph, output = describe(room.put(picture, "described.png"), kinds, room.library.catalog)
    room.jobs += 1
    room.events = []
    run = Run(f"describe-{room.jobs}", 1, graph.to_json(), (output,), {})
    room.bench.run(run, threading.Event(), room.events.append)
    ended = room.events[-1]
    assert isinstance(ended, Succeeded), ended
    return ended.ui[output]["text"][0]


def described(room: Darkroom, count: int, seed: int = 11) -> Described:
    """Describe `count` drawn scenes both ways."""
    rng = random.Random(seed)
    found: list[dict[str, bool]] = []
    for scene in scenes(count, seed):
        (thing,) = scene.things
        picture = draw(scene, SIDE, SIDE, rng)
        said = words_of(room, picture, ["Photo"])
        noun, _, ground = said.partition(f" on a {scene.background} background")
        right = {
            "colour": f" {thing.colour} " in noun,
            "shape": thing.shape in noun.split(),
            "background": ground == "" and noun != said,
        }
        right["all_three"] = all(right.values())
        right["size"], right["place"] = str(thing.size) in noun.split(), str(thing.place) in noun.split()
        right["right_tags"] = _tags(words_of(room, picture, ["Anime"])) == {
            thing.shape,
            f"{thing.colour} theme",
            f"{scene.background} background",
        }
        found.append(right)
    return Described(**{name: sum(row[name] for row in found) / count for name in found[0]}, pictures=count)


def _tags(said: str) -> set[str]:
    """The tags that say shape, colour and background."""
    known = {*SHAPES, *(f"{colour} theme" for colour in COLOURS), *(f"{ground} background" for ground in BACKGROUNDS)}
    return set(said.split(", ")) & known


@dataclass
class BlackedOut:
    """unwanted: share of the unwanted pictures that are all zero. untouched: share of the others, bit for bit equal to
    those of the same request without the checker."""

    unwanted: float
    untouched: float
    pictures: int


def blacked_out(room: Darkroom, count: int, seed: int = 11) -> BlackedOut:
    """Generate `count` unwanted pictures and `count` others, with the checker and without. Gray is held out."""
    rng = random.Random(seed)
    grounds = [name for name in BACKGROUNDS if name != "gray"]
    bad = [Scene(rng.choice(grounds), (Thing(*UNWANTED, "large", rng.choice(PLACES)),)) for _ in range(count)]
    good = [scene for scene in scenes(2 * count, seed) if (scene.things[0].shape, scene.things[0].colour) != UNWANTED]
    black = [_black(picture) for picture in _made(room, bad, seed, black_out_nsfw=True)]
    checked = _made(room, good[:count], seed, black_out_nsfw=True)
    plain = _made(room, good[:count], seed)
    same = [np.array_equal(pixels(a), pixels(b)) for a, b in zip(checked, plain, strict=True)]
    return BlackedOut(sum(black) / count, sum(same) / len(same), 3 * count)


def _made(room: Darkroom, asked: Sequence[Scene], seed: int, **options: bool) -> list[Image.Image]:
    prompts = [plain_caption(scene) for scene in asked]
    return [room.make(prompt=prompt, seed=seed + n, **options)[0] for n, prompt in enumerate(prompts)]


def _black(picture: Image.Image) -> bool:
    return not pixels(picture).any()


@dataclass
class Expanded:
    """Share of the pictures that show what was asked for, with Fooocus V2 and without; changed: that differ."""

    right_with: float
    right_without: float
    changed: float
    pictures: int


def expanded(room: Darkroom, count: int, seed: int = 11) -> Expanded:
    """Generate `count` pictures with prompt expansion and without."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    changed = []
    for number, scene in enumerate(scenes(count, seed)):
        pair = []
        for more in (True, False):
            styles = ["Fooocus V2"] if more else []
            (picture,) = room.make(prompt=plain_caption(scene), seed=seed + number, styles=styles)
            right[more].append(all(agreement(scene, measure(picture, scene.arrangement)).values()))
            pair.append(pixels(picture))
        changed.append(not np.array_equal(*pair))
    return Expanded(sum(right[True]) / count, sum(right[False]) / count, sum(changed) / count, 2 * count)


def main() -> None:
    parser = arguments(__doc__, 60, "scenes to describe")
    parser.add_argument("--generated", type=int, default=12, help="scenes to generate for black-out and expansion")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    with darkroom(args.models) as room:
        figures = {
            "described": described(room, args.count, args.seed).__dict__,
            "blacked out": blacked_out(room, args.generated, args.seed).__dict__,
            "expanded": expanded(room, args.generated, args.seed).__dict__,
        }
    show(figures)


if __name__ == "__main__":
    main()
