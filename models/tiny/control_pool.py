"""The pool that control training draws from: scenes, encoded, with their control pictures.

`python -m models.tiny.control_pool --minutes 9` adds shards until the time is over; training picks new ones up. Many
pictures are cuts of larger ones, so that shapes lie where no word can say. `--nameless` makes a pool of single things
in colours that have no name either.
"""

import argparse
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.control.canny import pyramid_edges
from models.control.cpds import contrast_preserving
from models.tiny import CHECKPOINT, DEFAULT_SIZE, WORK
from models.tiny.architecture import VAE_SCALING
from models.tiny.drawings import recoloured, without_names
from models.tiny.export import load_vae
from models.tiny.scenes import BACKGROUNDS, COLOURS, Scene, Thing, draw, random_scene

log = logging.getLogger("tiny.control_pool")
Kind = Literal["canny", "cpds"]
Drawer = Callable[[random.Random], tuple[Image.Image, Image.Image, Scene]]
SHARD, BATCH = 128, 16
SIDE = DEFAULT_SIZE[0]
WIDE = (1.25, 1.5)  # long over short side of the pictures that are cropped to a square, as control pictures are
OTHER_THRESHOLDS = 0.2  # share of the edge pictures made with other thresholds than 64 and 128


def picture(rng: random.Random) -> tuple[Image.Image, Image.Image, Scene]:
    """Draw a scene, or a cut of one whose places and sizes are then left out of the scene.

    Returns the picture, its twin and the scene. The twin has the same shapes at the same places, half the time in other
    colours: what steers must not be the colour.
    """
    scene, kind = random_scene(rng), rng.random()
    if kind < 0.4:
        return *_twins(scene, SIDE, SIDE, rng), scene
    if kind < 0.6:  # cropped around the centre
        long = round(SIDE * rng.uniform(*WIDE))
        width, height = rng.choice(((long, SIDE), (SIDE, long)))
        left, top = (width - SIDE) // 2, (height - SIDE) // 2
    else:
        width = height = round(SIDE * rng.uniform(1.1, 1.7))
        left, top = rng.randint(0, width - SIDE), rng.randint(0, height - SIDE)
    own, twin = (one.crop((left, top, left + SIDE, top + SIDE)) for one in _twins(scene, width, height, rng))
    return own, twin, replace(scene, things=tuple(Thing(t.shape, t.colour) for t in scene.things))


def nameless_picture(rng: random.Random) -> tuple[Image.Image, Image.Image, Scene]:
    """Draw a cut of a scene of one thing; thing, ground or both have a colour that no word names. See `picture`."""
    scene = random_scene(rng, two=0)
    both, ground = rng.random() < 0.5, rng.random() < 0.5
    side = round(SIDE * rng.uniform(1.0, 1.6))
    left, top = rng.randint(0, side - SIDE), rng.randint(0, side - SIDE)
    drawn = recoloured(draw(scene, side, side, rng), scene, rng, both=both, ground_only=ground)
    scene = without_names(scene, thing=both or not ground, ground=both or ground)
    cut = drawn.crop((left, top, left + SIDE, top + SIDE))
    return cut, cut, replace(scene, things=tuple(Thing(t.shape, t.colour) for t in scene.things))


def _twins(scene: Scene, width: int, height: int, rng: random.Random) -> tuple[Image.Image, Image.Image]:
    """Draw a scene twice with the same chances; the second one perhaps in other colours."""
    same = random.Random()
    same.setstate(rng.getstate())
    own = draw(scene, width, height, rng)
    other = random.Random(own.tobytes())
    if other.random() < 0.5:
        return own, own
    ground = other.choice(list(BACKGROUNDS))
    colours = [colour for colour in COLOURS if colour != ground]
    recoloured = replace(
        scene,
        background=ground,
        things=tuple(replace(thing, colour=other.choice(colours)) for thing in scene.things),
    )
    return own, draw(recoloured, width, height, same)


def control_picture(pixels: np.ndarray, kind: Kind, rng: random.Random) -> np.ndarray:
    """Make the control picture (H, W), 8 bits."""
    if kind == "cpds":
        return contrast_preserving(pixels)
    low, high = (rng.randint(30, 100), rng.randint(100, 200)) if rng.random() < OTHER_THRESHOLDS else (64, 128)
    return pyramid_edges(pixels, low, high)


@torch.no_grad()
def write_shard(vae: Any, path: Path, rng: random.Random, draw_one: Drawer = picture) -> None:
    """Draw and encode one shard."""
    latents, scenes = [], []
    hints: dict[Kind, list[np.ndarray]] = {"canny": [], "cpds": []}
    for _ in range(SHARD // BATCH):
        drawn = [draw_one(rng) for _ in range(BATCH)]
        scenes += [scene for *_, scene in drawn]
        pixels = [np.asarray(image) for image, *_ in drawn]
        twins = [np.asarray(twin) for _, twin, _ in drawn]
        for kind, made in hints.items():
            made += [control_picture(one, kind, rng) for one in twins]
        signed = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(signed.contiguous(memory_format=torch.channels_last)).latent_dist.mean
        latents.append((mean.float() * VAE_SCALING).half())
    planes = {kind: torch.from_numpy(np.stack(made)) for kind, made in hints.items()}
    part = path.with_suffix(".part")
    torch.save({"latents": torch.cat(latents), "scenes": scenes, **planes}, part)
    part.rename(path)


@dataclass
class ControlPool:
    """All shards of a folder in memory. hints: 8-bit control pictures of one kind."""

    folder: Path
    kind: Kind
    latents: list[Tensor] = field(default_factory=list)
    hints: list[Tensor] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def refresh(self) -> int:
        """Load shards that were added since the last call. Returns the number of pictures in the pool."""
        for path in sorted(self.folder.glob("*.pt")):
            if path.name not in self.seen:
                self.seen.add(path.name)
                with torch.serialization.safe_globals([Scene, Thing]):
                    shard = torch.load(path, weights_only=True)
                self.latents += shard["latents"].unbind()
                self.hints += shard[self.kind].unbind()
                self.scenes += shard["scenes"]
        return len(self.scenes)

    def batch(self, count: int, rng: random.Random) -> tuple[Tensor, Tensor, Sequence[Scene]]:
        """Draw latents (B, 4, 16, 16), control pictures (B, 3, 128, 128) in 0..1, and scenes."""
        index = [rng.randrange(len(self.scenes)) for _ in range(count)]
        hints = torch.stack([self.hints[i] for i in index]).float().div(255)[:, None].expand(-1, 3, -1, -1)
        return torch.stack([self.latents[i] for i in index]).float(), hints, [self.scenes[i] for i in index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--out", type=Path, default=WORK / "control-pool")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--nameless", action="store_true", help="single things in colours without a name")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    vae: Any = load_vae(CHECKPOINT)
    vae.to(memory_format=torch.channels_last)
    draw_one = nameless_picture if args.nameless else picture
    rng, end, number = random.Random(args.seed), time.time() + 60 * args.minutes, 0
    while time.time() < end:
        write_shard(vae, args.out / f"{args.seed:03d}-{number:04d}.pt", rng, draw_one)
        number += 1
        log.info("shard %d, %.0f s left", number, end - time.time())


if __name__ == "__main__":
    main()
