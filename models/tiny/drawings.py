"""Endless drawn pictures for small vision models, with the wear that real pictures have: blur, noise, JPEG's blocks."""

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.tiny.scenes import BACKGROUNDS, COLOURS, Scene, draw
from models.vision.clip_vision import DEVIATION, MEAN

PAINTED_PX = 128  # as large as the tiny model's pictures
WORN = 0.5  # share of the pictures that are not as clean as they were drawn
NAMELESS, CONTRAST = 45.0, 110.0  # distances in RGB, 0..255
KEPT = 4000  # scenes in the pool: drawing is slow beside training
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.BOX)


def drawings(
    rng: random.Random, batch: int, side: int, scene_of: Callable[[], Scene], nameless: float = 0.0
) -> Iterator[tuple[Tensor, list[Scene]]]:
    """Yield batches of pictures (B, 3, side, side), normalised as CLIP's are, and their scenes.

    A pool fills up to `KEPT`, and a quarter of each batch is drawn anew. nameless: share of the pictures of one thing
    that get colours without a name, and "" for both in their scene: what they teach of shapes goes with no colour.
    """
    pool: list[tuple[Tensor, Scene]] = []
    while True:
        for _ in range(batch if len(pool) < batch else max(1, batch // 4)):
            scene = scene_of()
            if scene.arrangement is None and rng.random() < nameless:
                drawn = recoloured(draw(scene, PAINTED_PX, PAINTED_PX, rng), scene, rng)
                scene = without_names(scene)
            else:
                drawn = draw(scene, PAINTED_PX, PAINTED_PX, rng)
            entry = normalised(worn(drawn, side, rng)), scene
            if len(pool) < KEPT:
                pool.append(entry)
            else:
                pool[rng.randrange(KEPT)] = entry
        chosen = rng.sample(pool, batch)
        yield torch.stack([pixels for pixels, _ in chosen]), [scene for _, scene in chosen]


def without_names(scene: Scene, *, thing: bool = True, ground: bool = True) -> Scene:
    """Return the scene as far as words can tell it where its colours have no name."""
    things = tuple(replace(one, colour="") for one in scene.things) if thing else scene.things
    return replace(scene, background="" if ground else scene.background, things=things)


def recoloured(
    drawn: Image.Image, scene: Scene, rng: random.Random, *, both: bool = True, ground_only: bool = False
) -> Image.Image:
    """Give a picture of one thing two colours that are far from each other and from all that have a name.

    Without `both` only the thing, or only the ground, gets a new one.
    """
    values = np.asarray(drawn, dtype=np.float32)
    ground, thing = values[0, 0], np.array(COLOURS[scene.things[0].colour], dtype=np.float32)
    share = ((values - ground) @ (thing - ground) / ((thing - ground) ** 2).sum()).clip(0, 1)[..., None]
    named = [*(COLOURS.values()), *(BACKGROUNDS.values())]
    while True:
        new_thing, new_ground = (np.array([rng.randrange(256) for _ in range(3)]) for _ in range(2))
        far = all(np.linalg.norm(new - np.array(old)) > NAMELESS for new in (new_thing, new_ground) for old in named)
        if not both:
            new_thing, new_ground = (thing, new_ground) if ground_only else (new_thing, ground)
        if far and np.linalg.norm(new_thing - new_ground) > CONTRAST:
            return Image.fromarray((new_ground + share * (new_thing - new_ground)).astype(np.uint8))


def worn(drawn: Image.Image, side: int, rng: random.Random) -> Image.Image:
    """Wear a picture and bring it to a side."""
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
