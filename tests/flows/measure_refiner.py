"""What a refiner does to a picture, in figures: `python -m tests.flows.measure_refiner --count 20`.

Held-out scenes, the tiny preset's defaults, the product's own path. Every picture is made without a refiner and with
each, from the same seed. Prints the figures as JSON.
"""

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from models.tiny.captions import plain_caption
from models.tiny.evaluate import single_scenes
from models.tiny.measure import agreement, measure
from models.tiny.scenes import Scene, draw
from tests.flows.darkroom import Darkroom, pixels, psnr
from tests.flows.measuring import arguments, darkroom, show

SIDE = 128
PLACEMENTS = 24  # drawings that a picture is compared with: prompts leave places and sizes open within bounds
XL, SD15 = "focal-tiny-sdxl-refiner.safetensors", "focal-tiny-sd15.safetensors"
WAYS: dict[str, dict[str, Any]] = {
    "no refiner": {},
    "joint": {"refiner_model": XL, "refiner_switch": 0.5},
    "separate": {"refiner_model": XL, "refiner_switch": 0.5, "refiner_swap_method": "separate"},
    "vae (SD 1.5)": {"refiner_model": SD15, "refiner_switch": 0.5},
}


@dataclass
class Refined:
    """Shares of the pictures that show what was asked; dB to the drawing that comes nearest; change in 8-bit values.

    edge: width in pixels over which the colour changes at the object's outline. changed: mean difference to the picture
    without a refiner.
    """

    background: float
    colour: float
    shape: float
    psnr_to_drawing: float
    edge_px: float
    changed: float
    pictures: int


def figures(room: Darkroom, count: int, ways: dict[str, dict[str, Any]] = WAYS, seed: int = 21) -> dict[str, Refined]:
    """Make `count` pictures in each way."""
    scenes = single_scenes(count, random.Random(seed))
    drawings = [list(_drawings(scene, number)) for number, scene in enumerate(scenes)]
    plain: list[np.ndarray] = []
    report: dict[str, Refined] = {}
    for way, asked in ways.items():
        rows = []
        for number, scene in enumerate(scenes):
            (picture,) = room.make(prompt=plain_caption(scene), seed=seed + number, **asked)
            values = pixels(picture)
            if not asked:
                plain.append(values)
            right = agreement(scene, measure(picture))
            nearest = max(psnr(values, drawing) for drawing in drawings[number])
            changed = float(np.abs(values - plain[number]).mean() * 255) if plain else 0.0
            shown = (right["background"], right["colour"], right["shape"])
            rows.append((*shown, nearest, edge_width(values), changed))
        report[way] = Refined(*(round(float(np.mean(column)), 3) for column in zip(*rows, strict=True)), count)
    return report


def _drawings(scene: Scene, number: int) -> "list[np.ndarray]":
    return [pixels(draw(scene, SIDE, SIDE, random.Random(f"{number} {n}"))) for n in range(PLACEMENTS)]


def edge_width(values: np.ndarray) -> float:
    """How wide outlines are: the whole contrast of a picture divided by its steepest steps; 1 is a hard edge."""
    grey = values.mean(-1)
    steps = np.abs(np.diff(grey, axis=1)).ravel()
    steepest = np.sort(steps)[-SIDE // 2 :]
    return float((grey.max() - grey.min()) / max(steepest.mean(), 1e-6))


def page(room: Darkroom, path: Path, count: int = 6, seed: int = 21) -> None:
    """Draw one row per way."""
    scenes = single_scenes(count, random.Random(seed))
    sheet = Image.new("RGB", (count * (SIDE + 4), len(WAYS) * (SIDE + 4)), "white")
    for row, asked in enumerate(WAYS.values()):
        for column, scene in enumerate(scenes):
            (picture,) = room.make(prompt=plain_caption(scene), seed=seed + column, **asked)
            sheet.paste(picture.convert("RGB"), (column * (SIDE + 4), row * (SIDE + 4)))
    sheet.save(path)


def main() -> None:
    parser = arguments(__doc__, 20, "pictures of each way")
    parser.add_argument("--page", type=Path, help="also draw a page of pictures there")
    args = parser.parse_args()
    with darkroom(args.models) as room:
        report = {way: asdict(refined) for way, refined in figures(room, args.count).items()}
        if args.page:
            page(room, args.page)
    show(report)


if __name__ == "__main__":
    main()
