"""Measure what the tiny model draws, through the product's own path: `python -m models.tiny.evaluate`.

A prompt becomes a request, `graphs.text_to_image` compiles it, and the worker's workbench runs the graph in this
process. Prints a table, writes the figures as JSON and a contact sheet as PNG.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from models.tiny import DEFAULT_SIZE
from models.tiny.captions import plain_caption
from models.tiny.measure import agreement, measure
from models.tiny.scenes import ARRANGEMENTS, PLACES, SIZES, Scene, Thing, combinations

REPOSITORY = Path(__file__).parents[2]
SHEET = REPOSITORY / "docs" / "images" / "tiny-grid.png"
FIGURES = Path(__file__).parent / "figures.json"
SHOWN = {"one object": 32, "two objects": 16}  # pictures of a setting on the contact sheet

Fields = dict[str, Any]  # of `graphs.request.GenerationRequest`


@dataclass(frozen=True)
class Setting:
    """One way of asking: what differs from the server's defaults."""

    name: str
    scenes: Sequence[Scene]
    negative: bool = False  # the object's colour stands in the negative prompt, and the prompt leaves it open
    options: Fields = field(default_factory=dict)


def settings(single: int, double: int, rng: random.Random) -> list[Setting]:
    """List what is measured: held-out combinations throughout."""
    ones, twos = single_scenes(single, rng), double_scenes(double, rng)
    fewer = ones[: max(1, single // 2)]
    return [
        Setting("one object", ones),
        Setting("two objects", twos),
        Setting("one object, guidance 1", fewer, options={"guidance_scale": 1.0}),
        Setting("one object, two styles", fewer, options={"styles": ["Fooocus Enhance", "Fooocus Sharp"]}),
        Setting("one object, 192x128", fewer, options={"width": 192, "height": 128}),
        Setting("colour in the negative prompt", fewer, negative=True),
    ]


def single_scenes(count: int, rng: random.Random) -> list[Scene]:
    """Go through the held-out combinations, each with a size and a place."""
    held = combinations(held=True)
    rng.shuffle(held)
    chosen = [held[i % len(held)] for i in range(count)]
    return [Scene(b, (Thing(s, c, rng.choice(SIZES), rng.choice(PLACES)),)) for s, c, b in chosen]


def double_scenes(count: int, rng: random.Random) -> list[Scene]:
    """Pair a held-out combination with any other of the same background."""
    scenes = []
    while len(scenes) < count:
        shape, colour, background = rng.choice(combinations(held=True))
        other_shape, other_colour, other_background = rng.choice(combinations(held=rng.random() < 0.2))
        if other_background == background and other_colour != colour:
            things = [Thing(shape, colour), Thing(other_shape, other_colour)]
            rng.shuffle(things)
            scenes.append(Scene(background, (things[0], things[1]), rng.choice(ARRANGEMENTS)))
    return scenes


def pictures(requests: Sequence[Fields]) -> Iterator[Image.Image]:
    """Make one picture per request, in order. A request holds fields of `graphs.request.GenerationRequest`."""
    from api.engine_room import worker_config
    from api.library import Library
    from api.settings import Settings
    from engine.events import Event, Succeeded
    from engine.jobs.messages import Run
    from engine.jobs.workbench import Workbench
    from graphs.request import GenerationRequest
    from graphs.text_to_image import text_to_image

    with tempfile.TemporaryDirectory() as folder:
        product = Settings(data=Path(folder), log_level="warning")
        library = Library(product)
        bench = Workbench(worker_config(product, library))
        for number, fields in enumerate(requests):
            compiled = text_to_image(GenerationRequest(preset="tiny", image_number=1, **fields), library.catalog)
            events: list[Event] = []
            run = Run(f"tiny-{number}", 1, compiled.graph.to_json(), tuple(compiled.outputs), {})
            bench.run(run, threading.Event(), events.append)
            if not isinstance(ended := events[-1], Succeeded):
                raise RuntimeError(f"the graph of {fields} ended with {ended}")
            (saved,) = ended.ui[compiled.outputs[0]]["images"]
            with Image.open(Path(folder) / "outputs" / saved["subfolder"] / saved["filename"]) as picture:
                yield picture.convert("RGB")
        library.close()


def judged(setting: Setting, scene: Scene, picture: Image.Image) -> dict[str, bool]:
    """Compare one picture with what was asked for."""
    reading = measure(picture, scene.arrangement)
    right = agreement(scene, reading)
    if setting.negative:
        right["colour avoided"] = reading.found[0].colour not in (None, scene.things[0].colour)
        del right["colour"]
    return right


def request(setting: Setting, scene: Scene, seed: int) -> Fields:
    """Say a scene as a request's fields."""
    width, height = DEFAULT_SIZE
    fields: Fields = {"prompt": plain_caption(scene), "seed": seed, "width": width, "height": height}
    if setting.negative:
        colour = scene.things[0].colour
        fields |= {"prompt": plain_caption(scene).replace(f" {colour} ", " ", 1), "negative_prompt": colour}
    return fields | setting.options


def sheet(drawn: Sequence[Image.Image], columns: int = 8) -> Image.Image:
    """Lay pictures out in a grid, in reading order."""
    width, height = drawn[0].size
    rows = -(-len(drawn) // columns)
    grid = Image.new("RGB", (columns * (width + 4), rows * (height + 4)), "white")
    for k, picture in enumerate(drawn):
        grid.paste(picture, (k % columns * (width + 4) + 2, k // columns * (height + 4) + 2))
    return grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--single", type=int, default=102, help="scenes with one object")
    parser.add_argument("--double", type=int, default=60, help="scenes with two objects")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--sheet", type=Path, default=SHEET)
    parser.add_argument("--figures", type=Path, default=FIGURES)
    args = parser.parse_args()
    wanted = settings(args.single, args.double, random.Random(args.seed))
    requests = [request(setting, scene, args.seed + i) for setting in wanted for i, scene in enumerate(setting.scenes)]
    drawing = pictures(requests)
    report: dict[str, dict[str, float]] = {}
    shown: list[Image.Image] = []
    for setting in wanted:
        begun, right = time.monotonic(), defaultdict(list)
        for number, scene in enumerate(setting.scenes):
            picture = next(drawing)
            for name, good in judged(setting, scene, picture).items():
                right[name].append(good)
            if number < SHOWN.get(setting.name, 0):
                shown.append(picture)
        figures = {name: sum(good) / len(good) for name, good in right.items()}
        report[setting.name] = {"pictures": len(setting.scenes), **{k: round(v, 4) for k, v in figures.items()}}
        line = "  ".join(f"{name} {value:.1%}" for name, value in figures.items())
        each_s = (time.monotonic() - begun) / len(setting.scenes)
        sys.stdout.write(f"{setting.name:31} {len(setting.scenes):4} pictures, {each_s:.1f} s each:  {line}\n")
        sys.stdout.flush()
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet(shown).save(args.sheet)
    args.figures.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
