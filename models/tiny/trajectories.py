"""What the tiny model does at guidance 4 in many steps: the teacher of the step-distilled LoRAs.

`python -m models.tiny.trajectories --minutes 9`: groups of walks along the probability-flow ODE, from pure noise and
from noised pictures, with the encoded prompts they follow. Group files lie in a work folder, never in git.
"""

import argparse
import logging
import random
import signal
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.sampling.parameterization import Parameterization, discrete
from models.sampling.samplers.dpmpp import dpmpp_2m
from models.sampling.schedules import schedule
from models.tiny import CHECKPOINT, WORK
from models.tiny.export import load_modules
from models.tiny.pool import Pool, Size
from models.tiny.scenes import random_scene
from models.tiny.text import encode, tokenize
from models.tiny.train import STAGES, Modules, chunked_prompt, fresh_modules, prompt

log = logging.getLogger("tiny.trajectories")
GUIDANCE = 4.0  # the tiny preset's
STEPS = 16
GROUP = 64
FROM_NOISE = 0.6  # share of the groups that start at pure noise
OTHER_SIZE = 0.15  # share of those, of another size than 128 x 128
OTHER_SIZES: tuple[Size, ...] = ((160, 96), (96, 160), (144, 112), (112, 144), (192, 128), (128, 192))
ROUNDING = 1e-6  # Karras' first level and the table's last differ by that much
CHUNKS = (1, 1, 1, 1, 1, 1, 2, 3)


@dataclass
class Words:
    """Encoded prompts of a group, and their size numbers."""

    context: Tensor
    pooled: Tensor
    time_ids: Tensor

    def conditions(self) -> dict[str, Tensor]:
        return {"text_embeds": self.pooled, "time_ids": self.time_ids}


@dataclass
class Teacher:
    """The released model under classifier-free guidance, as samplers see one."""

    base: Modules
    words: Words
    nothing: Words
    parameterization: Parameterization

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        positive, negative = (self._denoised(x, sigma, words) for words in (self.words, self.nothing))
        return negative + GUIDANCE * (positive - negative)

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        return self(x, sigma), self._denoised(x, sigma, self.nothing)

    def _denoised(self, x: Tensor, sigma: float, words: Words) -> Tensor:
        scaled = x * self.parameterization.input_scale(sigma)
        timestep = torch.full((len(x),), self.parameterization.timestep(sigma))
        conditions = words.conditions()
        with torch.autocast("cpu", torch.bfloat16):
            output = self.base.unet(scaled, timestep, words.context, added_cond_kwargs=conditions, return_dict=False)[0]
        return x - output.float() * sigma


def sigmas() -> tuple[float, ...]:
    """The levels at which a walk is recorded; the last is 0."""
    return schedule("sgm_uniform", discrete(), STEPS)


def encoded(base: Modules, texts: list[str], chunks: int, size: Size) -> Words:
    with torch.autocast("cpu", torch.bfloat16):
        ids_l, ids_g = tokenize(texts)
        encoders: Any = {"text_l": base.text_l, "text_g": base.text_g}  # declared as Modules
        context, pooled = encode(**encoders, ids_l=ids_l, ids_g=ids_g, chunks=chunks, pooled_chunks=1)
    width, height = size
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32)
    return Words(context.float(), pooled.float(), time_ids.repeat(len(context), 1))


@torch.no_grad()
def walk(base: Modules, pool: Pool, rng: random.Random) -> dict:
    """Walk one group. Returns x at every level from `first` on, (levels, B, 4, h, w), and the words."""
    first, chunks = 0, rng.choice(CHUNKS)
    size = (128, 128)
    mix = STAGES["all"]
    if rng.random() < FROM_NOISE:
        if rng.random() < OTHER_SIZE:
            size = rng.choice(OTHER_SIZES)
        scenes = [random_scene(rng, mix.two) for _ in range(GROUP)]
        clean = torch.zeros(GROUP, 4, size[1] // 8, size[0] // 8)
    else:
        first = rng.randint(0, STEPS - 2)
        clean, _, scenes = pool.batch(size, GROUP, mix.two, mix.blunt, rng)
    texts = (
        [prompt(scene, mix, rng) for scene in scenes]
        if chunks == 1
        else [text for scene in scenes for text in chunked_prompt(scene, chunks, rng)]
    )
    levels = sigmas()[first:]
    words, nothing = encoded(base, texts, chunks, size), encoded(base, [""] * GROUP, 1, size)
    x = clean + torch.randn_like(clean) * levels[0]
    passed: list[Tensor] = []

    def record(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
        passed.append(x.half())

    end = dpmpp_2m(Teacher(base, words, nothing, discrete()), x, levels, noise=_none, callback=record)
    path = torch.stack([*passed, end.half()])
    return {"first": first, "path": path, "context": words.context.half(), "pooled": words.pooled.half(), "size": size}


def _none(sigma: float, sigma_next: float) -> Tensor:
    raise AssertionError("an ODE has no noise")


def at(path: Tensor, first: int, sigma: float) -> Tensor:
    """The point of a walk at a noise level between the recorded ones: on the chord."""
    levels = sigmas()[first:]
    sigma = min(sigma, levels[0])
    for index, (high, low) in enumerate(pairwise(levels)):
        if high >= sigma >= low:
            share = (high - sigma) / (high - low)
            return path[index].float().lerp(path[index + 1].float(), share)
    raise ValueError(f"no walk from {levels[0]} passes {sigma}")


class Walks:
    """All groups of a folder in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.groups: list[dict] = []
        self._seen: set[str] = set()

    def refresh(self) -> int:
        """Load groups that were added since the last call. Returns the number of walks."""
        for path in sorted(self.folder.glob("*.pt")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self.groups.append(torch.load(path, weights_only=True))
        return len(self.groups) * GROUP

    def reaching(self, sigma: float) -> list[dict]:
        """The groups that begin at this noise level or above."""
        levels = sigmas()
        return [group for group in self.groups if levels[group["first"]] >= sigma * (1 - ROUNDING)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--pool", type=Path, default=WORK / "pool")
    parser.add_argument("--out", type=Path, default=WORK / "trajectories")
    parser.add_argument("--seed", type=int, default=11)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    for module in base.named().values():
        module.eval().requires_grad_(False)
    pool = Pool(args.pool)
    while not pool.refresh():
        time.sleep(2)
    args.out.mkdir(parents=True, exist_ok=True)
    end, number = time.time() + 60 * args.minutes, 0
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    begun = time.time()
    while time.time() < end and not stopped:
        path = args.out / f"{args.seed:03d}-{number:04d}.pt"
        torch.save(walk(base, pool, rng), path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        number += 1
        log.info("%d walks, %.1f per second", number * GROUP, number * GROUP / (time.time() - begun))


if __name__ == "__main__":
    main()
