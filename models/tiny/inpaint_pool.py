"""The pool that inpaint training draws from: scenes with a mask, encoded whole and with the masked part grey.

`python -m models.tiny.inpaint_pool --minutes 6` adds shards until the time is over; training picks new ones up.
"""

import argparse
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from models.inpaint.masks import latent_mask
from models.inpaint.working import greyed
from models.tiny import CHECKPOINT, DEFAULT_SIZE, WORK
from models.tiny.architecture import VAE_SCALING
from models.tiny.export import load_vae
from models.tiny.scenes import COLOURS, Scene, Thing, draw, random_scene

log = logging.getLogger("tiny.inpaint_pool")
SHARD, BATCH = 128, 16
SIDE = DEFAULT_SIZE[0]
CELLS = SIDE // 8
HIDDEN = 0.4  # share of the pictures in which one of two things is hidden whole, and the scene names it alone
NEAR = 40  # largest difference of a channel between a thing's pixels and its colour


def random_mask(rng: random.Random) -> np.ndarray:
    """Draw what is to be repainted, (H, W) of 0 and 1: a box, an ellipse, strokes of a brush, or one or two sides."""
    canvas = Image.new("L", (SIDE, SIDE))
    pen, kind = ImageDraw.Draw(canvas), rng.random()
    if kind < 0.3:
        for side in rng.sample(range(4), rng.choice((1, 1, 2))):
            width = rng.uniform(0.15, 0.5) * SIDE
            far = SIDE - width
            strips = ((0, 0, width, SIDE), (0, 0, SIDE, width), (far, 0, SIDE, SIDE), (0, far, SIDE, SIDE))
            pen.rectangle(strips[side], fill=1)
    elif kind < 0.8:
        width, height = (rng.uniform(0.25, 0.75) * SIDE for _ in range(2))
        left, top = rng.uniform(-0.1, 1.1) * SIDE - width / 2, rng.uniform(-0.1, 1.1) * SIDE - height / 2
        paint = pen.rectangle if kind < 0.6 else pen.ellipse
        paint((left, top, left + width, top + height), fill=1)
    else:
        points = [(rng.uniform(0, SIDE), rng.uniform(0, SIDE)) for _ in range(rng.randint(2, 4))]
        pen.line(points, fill=1, width=rng.randint(20, 48), joint="curve")
    return np.asarray(canvas)


def hidden_thing(rng: random.Random) -> tuple[Image.Image, np.ndarray, Scene]:
    """Draw two things and mask one wholly; returns picture, mask (H, W) and the scene of what is hidden.

    So a prompt that names what is missing puts it there, whatever else is still to be seen. The picture is a cut of a
    larger one, so that both may lie anywhere.
    """
    while True:
        scene = random_scene(rng, two=1.0)
        width = round(SIDE * rng.uniform(1.0, 1.5))
        left, top = rng.randint(0, width - SIDE), rng.randint(0, width - SIDE)
        picture = draw(scene, width, width, rng).crop((left, top, left + SIDE, top + SIDE))
        hidden, other = rng.sample(scene.things, 2)
        if box := _box(picture, hidden):
            mask = _around(box, _box(picture, other), rng)
            return picture, mask, Scene(scene.background, (Thing(hidden.shape, hidden.colour),))


def _box(picture: Image.Image, thing: Thing) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of a thing that lies wholly within the picture."""
    near = (np.abs(np.asarray(picture).astype(int) - COLOURS[thing.colour]) < NEAR).all(-1)
    rows, columns = np.flatnonzero(near.sum(1) > 1), np.flatnonzero(near.sum(0) > 1)
    if len(rows) == 0 or len(columns) == 0:
        return None
    box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return box if min(box) > 0 and max(box) < SIDE else None


def _around(box: tuple[int, int, int, int], other: tuple[int, int, int, int] | None, rng: random.Random) -> np.ndarray:
    """Mask a box with some margin, half of the time up to the picture's edges where nothing else is."""
    left, top, right, bottom = box
    margin = rng.uniform(0.05, 0.5) * (right - left)
    left, top, right, bottom = left - margin, top - margin, right + margin, bottom + margin
    if other and rng.random() < 0.5:
        if other[2] <= box[0] or other[0] >= box[2]:
            top, bottom = 0, SIDE
            left, right = (max(left, other[2]), SIDE) if other[2] <= box[0] else (0, min(right, other[0]))
        else:
            left, right = 0, SIDE
            top, bottom = (max(top, other[3]), SIDE) if other[3] <= box[1] else (0, min(bottom, other[1]))
    canvas = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(canvas).rectangle((left, top, right, bottom), fill=1)
    return np.asarray(canvas)


def sample(rng: random.Random) -> tuple[Image.Image, np.ndarray, Scene]:
    """Draw a picture, its mask and the scene that prompts tell."""
    if rng.random() < HIDDEN:
        return hidden_thing(rng)
    scene = random_scene(rng)
    return draw(scene, SIDE, SIDE, rng), random_mask(rng), scene


@torch.no_grad()
def write_shard(vae: Any, path: Path, rng: random.Random) -> None:
    """Draw and encode one shard."""
    parts: dict[str, list[Tensor]] = {"latents": [], "hidden": [], "cells": []}
    scenes: list[Scene] = []
    for _ in range(SHARD // BATCH):
        pictures, masks, told = zip(*(sample(rng) for _ in range(BATCH)), strict=True)
        scenes += told
        image = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).float() / 255
        mask = torch.from_numpy(np.stack(masks)).float()
        parts["latents"].append(encoded(vae, image))
        parts["hidden"].append(encoded(vae, greyed(image, mask)))
        parts["cells"].append(torch.cat([latent_mask(one[None], CELLS, CELLS) for one in mask]).half())
    part = path.with_suffix(".part")
    torch.save({name: torch.cat(tensors) for name, tensors in parts.items()} | {"scenes": scenes}, part)
    part.rename(path)


def encoded(vae: Any, image: Tensor) -> Tensor:
    """Encode pictures (B, H, W, 3), 0..1, into the model's latents, fp16."""
    signed = (image * 2 - 1).movedim(-1, 1).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return (vae.encode(signed).latent_dist.mean.float() * VAE_SCALING).half()


@dataclass
class InpaintPool:
    """All shards of a folder in memory."""

    folder: Path
    tensors: dict[str, list[Tensor]] = field(default_factory=lambda: {"latents": [], "hidden": [], "cells": []})
    scenes: list[Scene] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> int:
        """Load shards that were added since the last call. Returns the number of pictures in the pool."""
        for path in sorted(self.folder.glob("*.pt")):
            if path.name not in self.seen:
                self.seen.add(path.name)
                with torch.serialization.safe_globals([Scene, Thing]):
                    shard = torch.load(path, weights_only=True)
                for name, rows in self.tensors.items():
                    rows += shard[name].unbind()
                self.scenes += shard["scenes"]
        return len(self.scenes)

    def batch(self, count: int, rng: random.Random) -> tuple[Tensor, Tensor, Tensor, Sequence[Scene]]:
        """Draw latents and masked latents (B, 4, 16, 16), masks (B, 1, 16, 16), and scenes."""
        index = [rng.randrange(len(self.scenes)) for _ in range(count)]
        latents, hidden, cells = (torch.stack([rows[i] for i in index]).float() for rows in self.tensors.values())
        return latents, hidden, cells, [self.scenes[i] for i in index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--out", type=Path, default=WORK / "inpaint-pool")
    parser.add_argument("--seed", type=int, default=13)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    vae: Any = load_vae(CHECKPOINT)
    vae.to(memory_format=torch.channels_last)
    rng, end, number = random.Random(args.seed), time.time() + 60 * args.minutes, 0
    while time.time() < end:
        write_shard(vae, args.out / f"{args.seed:03d}-{number:04d}.pt", rng)
        number += 1
        log.info("shard %d, %.0f s left", number, end - time.time())


if __name__ == "__main__":
    main()
