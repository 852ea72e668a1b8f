"""What the step-distilled modes are worth, in figures: `python -m tests.flows.measure_performance --count 30`.

Held-out scenes, the tiny preset's defaults, the product's own path: Speed, each distilled mode with its LoRA, and the
same sampling without the LoRA. right: all attributes read back. fine: right, and nearly as clean as a drawing that went
through the VAE (of 60 such, the worst were 19, 26 and 0.13 off, nine in ten within 16, 17 and 0.04). Prints JSON.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from graphs.performance import PERFORMANCES
from models.tiny import measure as reader
from models.tiny.captions import plain_caption
from models.tiny.evaluate import double_scenes, single_scenes
from models.tiny.measure import agreement, measure
from models.tiny.scenes import BACKGROUNDS, COLOURS, Scene
from tests.flows.darkroom import Darkroom
from tests.flows.measuring import arguments, darkroom, show

Measure = Callable[[Darkroom, int, int, dict[str, Any]], dict[str, float]]
MODES = ("Extreme Speed", "Lightning", "Hyper-SD")


@dataclass(frozen=True)
class Errors:
    """How far a picture is from a drawing. Colours: distance in RGB, 0..255, from what was asked. outline: mean square
    difference of the scaled outline from the shape's."""

    background: float
    colour: float
    outline: float

    def within(self, limits: "Errors") -> bool:
        return self.background <= limits.background and self.colour <= limits.colour and self.outline <= limits.outline


FINE = Errors(background=24.0, colour=40.0, outline=0.055)


def errors(scene: Scene, picture: Image.Image) -> Errors:
    """Measure a picture against its scene."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    (thing,) = scene.things
    ground = reader._background(pixels)
    mask, colour = reader._mask(pixels, ground)
    background = float(np.linalg.norm(ground - np.array(BACKGROUNDS[scene.background])))
    if mask is None or colour is None:
        return Errors(background, 999.0, 1.0)
    top, bottom, left, right = reader._box(mask)
    outline = reader._outline(mask[top:bottom, left:right])
    difference = float(((reader._templates()[thing.shape] - outline) ** 2).mean())
    return Errors(background, float(np.linalg.norm(colour - np.array(COLOURS[thing.colour]))), difference)


def asked_without(mode: str) -> dict[str, Any]:
    """The sampling of a distilled mode, spelled out, so that no LoRA is added."""
    distilled = PERFORMANCES[mode].distilled
    assert distilled is not None
    return {
        "sampler": distilled.sampler,
        "scheduler": distilled.scheduler,
        "overwrite_step": PERFORMANCES[mode].steps,
        "guidance_scale": 1.0,
        "sharpness": 0.0,
        "adaptive_cfg": 1.0,
        "adm_scaler_positive": 1.0,
        "adm_scaler_negative": 1.0,
        "adm_scaler_end": 0.0,
    }


def share(
    room: Darkroom, count: int, seed: int, asked: dict[str, Any], keep: list[Image.Image] | None = None
) -> dict[str, float]:
    """Make `count` pictures; returns the shares that are right, and right and fine, and the middle errors."""
    right, fine, found = 0, 0, []
    for number, scene in enumerate(single_scenes(count, random.Random(seed))):
        (picture,) = room.make(prompt=plain_caption(scene), seed=seed + number, **asked)
        correct = all(agreement(scene, measure(picture)).values())
        off = errors(scene, picture)
        right, fine = right + correct, fine + (correct and off.within(FINE))
        found.append(off)
        if keep is not None:
            keep.append(picture)
    middle = {name: round(float(np.median([getattr(e, name) for e in found])), 3) for name in Errors.__annotations__}
    return {"right": right / count, "fine": fine / count, **middle}


def share_of_two(room: Darkroom, count: int, seed: int, asked: dict[str, Any]) -> dict[str, float]:
    """The share of `count` pictures of two objects that show the background, both colours and both shapes."""
    right = 0
    for number, scene in enumerate(double_scenes(count, random.Random(seed))):
        (picture,) = room.make(prompt=plain_caption(scene), seed=10 * seed + number, **asked)
        right += all(agreement(scene, measure(picture, scene.arrangement)).values())
    return {"right": right / count}


def performance_figures(
    room: Darkroom, count: int, seed: int = 11, modes: tuple[str, ...] = MODES, measured: Measure = share
) -> dict[str, dict[str, float]]:
    """Speed, and each mode with and without its LoRA."""
    figures = {"Speed": measured(room, count, seed, {"performance": "Speed"})}
    for mode in modes:
        figures[mode] = measured(room, count, seed, {"performance": mode})
        figures[f"{mode}, no LoRA"] = measured(room, count, seed, asked_without(mode))
    return figures


def main() -> None:
    parser = arguments(__doc__, 30)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--two", action="store_true", help="of two objects; only what is right is counted")
    args = parser.parse_args()
    measured = share_of_two if args.two else share
    with darkroom(args.models) as room:
        figures = performance_figures(room, args.count, args.seed, measured=measured)
    show(figures)


if __name__ == "__main__":
    main()
