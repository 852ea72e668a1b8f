"""Endless drawn pictures for small vision models, with the wear that real pictures have: blur, noise, JPEG's blocks."""

import io
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.tiny.scenes import Scene, draw
from models.vision.clip_vision import DEVIATION, MEAN

PAINTED_PX = 128  # as large as the tiny model's pictures
WORN = 0.5  # share of the pictures that are not as clean as they were drawn
KEPT = 4000  # scenes in the pool: drawing is slow beside training
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX)


def drawings(
    rng: random.Random, batch: int, side: int, scene_of: Callable[[], Scene]
) -> Iterator[tuple[Tensor, list[Scene]]]:
    """Yield batches of pictures (B, 3, side, side), normalised as CLIP's are, and their scenes.

    A pool fills up to `KEPT`, and a quarter of each batch is drawn anew.
    """
    pool: list[tuple[Tensor, Scene]] = []
    while True:
        for _ in range(batch if len(pool) < batch else max(1, batch // 4)):
            scene = scene_of()
            entry = normalised(picture(scene, side, rng)), scene
            if len(pool) < KEPT:
                pool.append(entry)
            else:
                pool[rng.randrange(KEPT)] = entry
        chosen = rng.sample(pool, batch)
        yield torch.stack([pixels for pixels, _ in chosen]), [scene for _, scene in chosen]


def picture(scene: Scene, side: int, rng: random.Random) -> Image.Image:
    """Draw a scene, wear it, and bring it to a side."""
    drawn = draw(scene, PAINTED_PX, PAINTED_PX, rng)
    if rng.random() < WORN:
        kind = rng.random()
        if kind < 0.35:
            small = rng.randint(side, PAINTED_PX)
            drawn = drawn.resize((small, small), rng.choice(FILTERS)).resize(drawn.size, rng.choice(FILTERS))
        elif kind < 0.7:
            values = np.asarray(drawn, dtype=np.float32)
            noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 10), values.shape)
            drawn = Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))
        else:
            file = io.BytesIO()
            drawn.save(file, "JPEG", quality=rng.randint(40, 90))
            drawn = Image.open(file).convert("RGB")
    return drawn.resize((side, side), Image.Resampling.BICUBIC)


def normalised(drawn: Image.Image) -> Tensor:
    """(3, H, W), each channel with CLIP's mean and deviation."""
    values = (np.asarray(drawn, dtype=np.float32) / 255 - np.array(MEAN)) / np.array(DEVIATION)
    return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)
