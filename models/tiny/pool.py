"""The pool of encoded scenes that training draws from: `python -m models.tiny.pool`.

Runs beside the training and adds a shard at a time; `Pool.refresh` picks new shards up. Shards live in a work folder,
never in git.
"""

import argparse
import logging
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from models.tiny import WORK
from models.tiny.architecture import VAE_SCALING
from models.tiny.scenes import SHAPES, Scene, Thing, draw, random_scene

log = logging.getLogger("tiny.pool")
SHARD = 256
Size = tuple[int, int]
BLUNT = {"circle", "square"}  # the two shapes that are hardest to tell apart
SIZE_SHARES: dict[Size, float] = {  # width, height in pixels: share of the batches
    (128, 128): 0.70,
    (160, 96): 0.045,
    (96, 160): 0.045,
    (144, 112): 0.05,
    (112, 144): 0.05,
    (192, 128): 0.035,
    (128, 192): 0.035,
    (192, 192): 0.03,
    (256, 256): 0.015,
}


def conditioned_picture(scene: Scene, width: int, height: int, rng: random.Random) -> tuple[Image.Image, list[int]]:
    """Draw a scene together with six size numbers that are true of it.

    Returns the picture and [original height, width, crop top, left, target height, width] in pixels.
    """
    kind = rng.random()
    if kind < 0.06:  # a small original, enlarged: blurry
        factor = rng.uniform(0.5, 0.95)
        w, h = round(width * factor), round(height * factor)
        return draw(scene, w, h, rng).resize((width, height), Image.Resampling.BICUBIC), [h, w, 0, 0, height, width]
    if kind < 0.14:  # a large original, reduced: looks like any other
        factor = rng.uniform(1.0, 2.0)
        w, h = round(width * factor), round(height * factor)
        return draw(scene, w, h, rng).resize((width, height), Image.Resampling.BOX), [h, w, 0, 0, height, width]
    if kind < 0.21:  # a cut out of a larger picture
        factor = rng.uniform(1.1, 1.5)
        w, h = round(width * factor), round(height * factor)
        left, top = rng.randint(0, w - width), rng.randint(0, h - height)
        cut = draw(scene, w, h, rng).crop((left, top, left + width, top + height))
        return cut, [h, w, top, left, height, width]
    return draw(scene, width, height, rng), [height, width, 0, 0, height, width]


@torch.no_grad()
def write_shard(vae: Any, size: Size, path: Path, rng: random.Random) -> None:
    """Draw and encode one shard of one picture size."""
    latents, scenes, time_ids = [], [], []
    batch = 16 if size[0] * size[1] <= 128 * 192 else 8
    for _ in range(SHARD // batch):
        drawn = [random_scene(rng) for _ in range(batch)]
        pictures = [conditioned_picture(scene, *size, rng) for scene in drawn]
        pixels = (
            torch.from_numpy(np.stack([np.asarray(p) for p, _ in pictures])).permute(0, 3, 1, 2).float() / 127.5 - 1
        )
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        latents.append((mean.float() * VAE_SCALING).half())
        scenes += drawn
        time_ids += [ids for _, ids in pictures]
    part = path.with_suffix(".part")
    torch.save(
        {"size": size, "latents": torch.cat(latents), "scenes": scenes, "time_ids": torch.tensor(time_ids)}, part
    )
    part.rename(path)


def _shapes(scene: Scene) -> set[str]:
    return {thing.shape for thing in scene.things}


@dataclass
class Pool:
    """All shards of a folder in memory, by picture size."""

    folder: Path
    latents: dict[Size, torch.Tensor] = field(default_factory=dict)
    time_ids: dict[Size, torch.Tensor] = field(default_factory=dict)
    scenes: dict[Size, list[Scene]] = field(default_factory=dict)
    places: dict[tuple[Size, bool], list[int]] = field(default_factory=dict)  # by size and "are there two objects?"
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> int:
        """Load shards that were added since the last call. Returns the number of pictures in the pool."""
        for path in sorted(self.folder.glob("*.pt")):
            if path.name in self.seen:
                continue
            self.seen.add(path.name)
            with torch.serialization.safe_globals([Scene, Thing]):
                shard = torch.load(path, weights_only=True)
            size = shard["size"]
            for scene in shard["scenes"]:
                mine = self.scenes.setdefault(size, [])
                self.places.setdefault((size, scene.arrangement is not None), []).append(len(mine))
                mine.append(scene)
            for tensors, name in ((self.latents, "latents"), (self.time_ids, "time_ids")):
                tensors[size] = torch.cat([tensors[size], shard[name]]) if size in tensors else shard[name]
        return sum(len(scenes) for scenes in self.scenes.values())

    def choose_size(self, rng: random.Random) -> Size:
        """Choose the size of the next batch among those the pool already has."""
        sizes = [size for size in SIZE_SHARES if size in self.latents]
        return rng.choices(sizes, [SIZE_SHARES[size] for size in sizes])[0]

    def batch(
        self, size: Size, count: int, two: float, blunt: float, rng: random.Random
    ) -> tuple[torch.Tensor, torch.Tensor, list[Scene]]:
        """Draw latents (B, 4, H/8, W/8), time ids (B, 6) and scenes of one size.

        two: share of scenes with two objects. blunt: share that must show one of `BLUNT`, besides those that happen to.
        """
        index = []
        for _ in range(count):
            places = self.places[size, rng.random() < two]
            wanted = BLUNT if rng.random() < blunt else set(SHAPES)
            draws = (rng.choice(places) for _ in range(20))  # one scene in three or more is blunt
            index.append(next((i for i in draws if _shapes(self.scenes[size][i]) & wanted), places[0]))
        chosen = torch.tensor(index)
        return (
            self.latents[size][chosen].float(),
            self.time_ids[size][chosen].float(),
            [self.scenes[size][i] for i in index],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, default=WORK / "vae")
    parser.add_argument("--out", type=Path, default=WORK / "pool")
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    vae: Any = AutoencoderKL.from_pretrained(args.vae)
    vae.eval().to(memory_format=torch.channels_last)
    rng = random.Random(args.seed)
    # Every size once before the long run, the default size first.
    order = (
        [(128, 128)] * 4
        + list(SIZE_SHARES)[1:]
        + rng.choices(list(SIZE_SHARES), list(SIZE_SHARES.values()), k=args.pictures // SHARD)
    )
    for number, size in enumerate(order[: args.pictures // SHARD]):
        write_shard(vae, size, args.out / f"{args.seed:03d}-{number:04d}.pt", rng)
        log.info("shard %d of %d, %s", number + 1, args.pictures // SHARD, size)


if __name__ == "__main__":
    main()
