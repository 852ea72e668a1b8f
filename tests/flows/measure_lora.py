"""How far the tiny style LoRA changes a picture, in figures: `python -m tests.flows.measure_lora --count 12`.

Its look is ink: no colour, black outlines. Held-out scenes, the tiny preset's defaults. Prints, by weight, the mean
saturation (largest minus smallest channel) and the change from the picture without it, as JSON.
"""

import random
from collections.abc import Sequence

import numpy as np

from graphs.request import Lora
from models.tiny.captions import plain_caption
from models.tiny.evaluate import single_scenes
from tests.flows.darkroom import Darkroom, pixels
from tests.flows.measuring import arguments, darkroom, show

STYLE = "focal-tiny-style.safetensors"
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def lora_figures(
    room: Darkroom, count: int, seed: int = 23, weights: Sequence[float] = WEIGHTS, **asked: object
) -> dict[float, dict[str, float]]:
    """By weight: saturation, and the largest and mean difference from the picture without the LoRA."""
    figures: dict[float, list[tuple[float, float, float]]] = {weight: [] for weight in weights}
    for number, scene in enumerate(single_scenes(count, random.Random(seed))):
        fields = {"prompt": plain_caption(scene), "seed": seed + number, **asked}
        plain = pixels(room.make(**fields)[0])
        for weight in weights:
            picture = pixels(room.make(loras=[Lora(STYLE, weight)], **fields)[0])
            change = np.abs(picture - plain)
            saturation = (picture.max(axis=-1) - picture.min(axis=-1)).mean()
            figures[weight].append((float(saturation), float(change.max()), float(change.mean())))
    return {
        weight: dict(zip(("saturation", "largest change", "mean change"), np.mean(found, axis=0).round(4), strict=True))
        for weight, found in figures.items()
    }


def main() -> None:
    args = arguments(__doc__, 12).parse_args()
    with darkroom(args.models) as room:
        figures = lora_figures(room, args.count)
    show(figures)


if __name__ == "__main__":
    main()
