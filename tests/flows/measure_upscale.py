"""What the tiny upscaler gains over bicubic: `python -m tests.flows.measure_upscale --count 40`.

Held-out scenes are drawn large, made small with four filters and enlarged again. Prints dB by filter as JSON.
"""

import random

import numpy as np
import torch
from PIL import Image

from models.memory import Residency
from models.tiny import UPSCALER
from models.tiny.scenes import PLACES, SIZES, Scene, Thing, draw
from models.upscale.upscaler import Upscaler, load_upscaler
from tests.flows.darkroom import pixels, psnr
from tests.flows.measuring import arguments, held_combinations, show

LARGE, SMALL = 512, 128
FILTERS = ("BOX", "BILINEAR", "BICUBIC", "LANCZOS")


def gains(upscaler: Upscaler, count: int, seed: int = 5, filters: tuple[str, ...] = FILTERS) -> dict[str, list[float]]:
    """PSNR of the upscaler minus PSNR of Pillow's bicubic, in dB, for each scene, by the filter that made it small."""
    rng = random.Random(seed)
    held = held_combinations(rng)
    found: dict[str, list[float]] = {name: [] for name in filters}
    for shape, colour, background in held[:count]:
        scene = Scene(background, (Thing(shape, colour, rng.choice(SIZES), rng.choice(PLACES)),))
        large = draw(scene, LARGE, LARGE, rng)
        for name in filters:
            small = large.resize((SMALL, SMALL), Image.Resampling[name])
            bicubic = pixels(small.resize((LARGE, LARGE), Image.Resampling.BICUBIC))
            ours = upscaler.upscale(torch.from_numpy(pixels(small).astype(np.float32))[None])[0].numpy()
            ours = (ours * 255).astype(np.uint8) / 255  # as it is saved
            found[name].append(psnr(ours, pixels(large)) - psnr(bicubic, pixels(large)))
    return found


def main() -> None:
    args = arguments(__doc__, 40).parse_args()
    folders = [args.models / "upscale_models"] if args.models else []
    file = next(f for folder in (*folders, UPSCALER.parent) if (f := folder / UPSCALER.name).exists())
    found = gains(load_upscaler(file, Residency("cpu")), args.count)
    told = {name: {"mean": round(sum(g) / len(g), 2), "least": round(min(g), 2)} for name, g in found.items()}
    show(told)


if __name__ == "__main__":
    main()
