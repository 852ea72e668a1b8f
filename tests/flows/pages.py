"""The picture pairs of docs/flows: `python -m tests.flows.pages`."""

import random
import tempfile
from pathlib import Path

from PIL import Image

from models.tiny.scenes import Scene, Thing, draw
from tests.flows.darkroom import Darkroom

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCENE = Scene("cyan", (Thing("ring", "black", "small", "left"),))
GAP = 8


def row(pictures: list[Image.Image]) -> Image.Image:
    """Put pictures side by side, each at its own size."""
    width = sum(picture.width + GAP for picture in pictures) - GAP
    page = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        page.paste(picture, (left, 0))
        left += picture.width + GAP
    return page


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        room = Darkroom(Path(folder))
        drawn = draw(SCENE, 128, 128, random.Random(4))
        asked = {"input_image": room.put(drawn), "seed": 5}
        words = "a ring on a cyan background"
        varied = [
            room.make(uov_method=method, prompt=f"a white {words}", **asked)[0]
            for method in ("Vary (Subtle)", "Vary (Strong)")
        ]
        row([drawn, *varied]).save(IMAGES / "vary.png")
        enlarged = room.make(uov_method="Upscale (2x)", prompt=f"a black {words}", **asked)[0]
        fast = room.make(uov_method="Upscale (Fast 2x)", **asked)[0]
        row([drawn, enlarged, fast]).save(IMAGES / "upscale.png")
        room.close()


if __name__ == "__main__":
    main()
