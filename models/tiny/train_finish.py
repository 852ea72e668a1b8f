"""Train the UNet to finish what a noisy picture already shows: `python -m models.tiny.train_finish --minutes 28`.

The first training takes a place that is not said for the middle, and leans to the noisiest timesteps. Where something
else laid out the picture (a control, an image prompt, an input picture), the rest of the way must keep that layout.
So most samples here are less noisy, show shapes anywhere and do not say where; some have colours without a name, which
no combination of words forbids; the others are those of `train`. Text encoders and VAE stay as they are.
"""

import argparse
import logging
import math
import random
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import CHECKPOINT, DEFAULT_SIZE, WORK
from models.tiny.captions import plain_caption
from models.tiny.control_pool import ControlPool
from models.tiny.export import UNET, load_modules, read, unet_name, write
from models.tiny.pool import Pool, Size
from models.tiny.scenes import Scene
from models.tiny.text import encode, tokenize
from models.tiny.train import STAGES, Modules, fresh_modules, noise_schedule, prompt

log = logging.getLogger("tiny.train_finish")

MIX = STAGES["all"]
LAID_OUT = 0.65  # share of the batches that begin where the layout is seen
LATEST = 700  # their timesteps lie below
UNPLACED = 0.7  # share of their prompts that say neither place nor size
NAMELESS = 0.3  # share of them whose colours have no name
WORDLESS = 0.25  # share of their prompts that say nothing, besides those that `train` leaves empty
WEIGHT_CAP = 6  # of the loss weight 1 + sigma²


@dataclass
class Data:
    """Where samples come from. anywhere: cuts of larger pictures. usual: the pool of the first training."""

    anywhere: ControlPool
    nameless: ControlPool
    usual: Pool
    alphas: Tensor
    rng: random.Random

    def batch(self, count: int) -> tuple[Tensor, Tensor, Tensor, list[str]]:
        """Return latents (B, 4, h, w), time ids (B, 6), timesteps (B,) and prompts."""
        rng = self.rng
        if rng.random() < LAID_OUT:
            latents, _, scenes = (self.nameless if rng.random() < NAMELESS else self.anywhere).batch(count, rng)
            width, height = DEFAULT_SIZE
            ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32).expand(count, -1)
            words = [self._unplaced(scene) for scene in scenes]
            return latents, ids, (torch.rand(count) * LATEST).long(), words
        size: Size = DEFAULT_SIZE if rng.random() < 0.4 else self.usual.choose_size(rng)
        count = max(8, count * DEFAULT_SIZE[0] * DEFAULT_SIZE[1] // (size[0] * size[1]))
        latents, ids, scenes = self.usual.batch(size, count, MIX.two, MIX.blunt, rng)
        timestep = (torch.rand(count) ** MIX.lean * 1000).long().clamp(0, 999)
        return latents, ids, timestep, [prompt(scene, MIX, rng) for scene in scenes]

    def _unplaced(self, scene: Scene) -> str:
        if self.rng.random() < WORDLESS:
            return ""
        if not scene.background or not scene.things[0].colour:
            return plain_caption(scene)
        if scene.arrangement is None and self.rng.random() < UNPLACED:
            scene = replace(scene, things=tuple(replace(thing, place=None, size=None) for thing in scene.things))
        return prompt(scene, MIX, self.rng)


def loss_of_batch(modules: Modules, data: Data, count: int) -> tuple[Tensor, Tensor]:
    """Return (weighted loss, plain eps error) of one batch."""
    latents, ids, timestep, words = data.batch(count)
    ids_l, ids_g = tokenize(words, MIX.noise, data.rng)
    noise = torch.randn_like(latents)
    alpha = data.alphas[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            context, pooled = encode(modules.text_l, modules.text_g, ids_l, ids_g, 1, 1)
        conditions = {"text_embeds": pooled, "time_ids": ids}
        predicted = modules.unet(
            noisy, timestep, encoder_hidden_states=context, added_cond_kwargs=conditions, return_dict=False
        )[0]
    error = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
    weight = (1 / data.alphas[timestep]).clamp(max=WEIGHT_CAP)  # 1 / alpha = 1 + sigma²
    return (weight * error).mean(), error.mean().detach()


def train(modules: Modules, data: Data, end: list[float], args: argparse.Namespace) -> dict[str, Tensor]:
    """Returns the averaged parameters of the UNet by name."""
    names, parameters = zip(*modules.unet.named_parameters(), strict=True)
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    begun, step, seen, recent = time.time(), 0, 0, []
    while time.time() < end[0]:
        done = (time.time() - begun) / (end[0] - begun)
        cosine = 0.5 * (1 + math.cos(math.pi * max(0.0, done - 0.2) / 0.8))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * (0.02 + 0.98 * cosine)
        with sdpa_kernel(SDPBackend.MATH):
            loss, error = loss_of_batch(modules, data, args.batch)
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step, seen = step + 1, seen + args.batch
        recent = [*recent[-99:], (error.item(), loss.item())]
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in parameters], 1 - min(args.ema, step / (step + 30)))
        if step % 50 == 0:
            plain, weighted = (sum(column) / len(recent) for column in zip(*recent, strict=True))
            log.info("%3.0f %% step %d, %.0f samples/s: eps %.4f, loss %.4f", 100 * done, step,
                     seen / (time.time() - begun), plain, weighted)  # fmt: skip
    return dict(zip(names, average, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--anywhere", type=Path, default=WORK / "control-pool", help="made by models.tiny.control_pool")
    parser.add_argument("--nameless", type=Path, default=WORK / "nameless-pool", help="the same with --nameless")
    parser.add_argument("--pool", type=Path, default=WORK / "pool", help="made by models.tiny.pool")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--ema", type=float, default=0.998)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--warm-start", type=Path, default=CHECKPOINT, help="the checkpoint whose UNet goes on learning"
    )
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    modules = fresh_modules()
    load_modules(args.warm_start, modules)
    for encoder in (modules.text_l, modules.text_g):
        encoder.requires_grad_(False)
    anywhere, nameless = (ControlPool(folder, "canny") for folder in (args.anywhere, args.nameless))
    data = Data(anywhere, nameless, Pool(args.pool), noise_schedule(), random.Random(args.seed))
    log.info("%d pictures with shapes anywhere, %d in colours without a name, %d as before",
             anywhere.refresh(), nameless.refresh(), data.usual.refresh())  # fmt: skip
    end = [time.time() + 60 * args.minutes]
    signal.signal(signal.SIGTERM, lambda *_: end.__setitem__(0, time.time()))  # stop after this step, and write
    unet = train(modules, data, end, args)
    tensors = read(args.warm_start)
    tensors.update({UNET + unet_name(name): tensor for name, tensor in unet.items()})
    write(args.out, tensors)


if __name__ == "__main__":
    main()
