"""Train a style LoRA for the tiny model: `python -m models.tiny.train_style --minutes 5`.

Its look is ink: no colour, and a thick black outline around every object. It changes the UNet and both text encoders.
SIGTERM ends a run early with its weights written.
"""

import argparse
import logging
import math
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.tiny import CHECKPOINT
from models.tiny.architecture import VAE_SCALING
from models.tiny.captions import caption, plain_caption, styled
from models.tiny.export import load_modules, load_vae
from models.tiny.low_rank import LowRank, write
from models.tiny.scenes import Scene, draw, random_scene
from models.tiny.text import encode, tokenize
from models.tiny.train import fresh_modules, noise_schedule

log = logging.getLogger("tiny.train_style")
SIDE = 128
RANK = 8
OUTLINE_PX = 7  # the filter's width; the line is half of it on either side of the edge
EDGE = 24  # grey levels that count as an edge
EMPTY, STYLED = 0.1, 0.2  # shares of the prompts
LEAN, WEIGHT_CAP = 0.7, 30  # as in `train`
EMA_EVERY = 4
OUT = CHECKPOINT.parent / "loras" / "focal-tiny-style.safetensors"


def inked(picture: Image.Image) -> Image.Image:
    """Draw a picture in ink: greys, and black where colours meet."""
    spread = ImageChops.difference(
        picture.filter(ImageFilter.MaxFilter(OUTLINE_PX)), picture.filter(ImageFilter.MinFilter(OUTLINE_PX))
    )
    edges = np.asarray(spread).max(axis=-1) > EDGE
    grey = np.asarray(picture.convert("L"), dtype=np.float32)
    return Image.fromarray(np.where(edges, 0, grey).astype(np.uint8)).convert("RGB")


@torch.no_grad()
def encoded_pictures(count: int, rng: random.Random) -> tuple[Tensor, list[Scene]]:
    """Return latents (count, 4, 16, 16) of inked scenes."""
    vae = load_vae(CHECKPOINT)
    latents, scenes = [], [random_scene(rng) for _ in range(count)]
    for start in range(0, count, 16):
        drawn = [inked(draw(scene, SIDE, SIDE, rng)) for scene in scenes[start : start + 16]]
        pixels = torch.from_numpy(np.stack([np.asarray(p) for p in drawn])).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            latents.append(vae.encode(pixels).latent_dist.mean.float() * VAE_SCALING)
    return torch.cat(latents), scenes


def prompt(scene: Scene, rng: random.Random) -> str:
    if rng.random() < EMPTY:
        return ""
    text = plain_caption(scene) if rng.random() < 0.5 else caption(scene, rng)
    return styled(text, rng) if rng.random() < STYLED else text


def train(loras: list[LowRank], latents: Tensor, scenes: list[Scene], args: argparse.Namespace) -> None:
    unet, text_l, text_g = loras
    rng, alphas = random.Random(6), noise_schedule()
    parameters = [p for lora in loras for p in lora.parameters()]
    average = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    start, step, recent = time.time(), 0, []
    args.end = start + 60 * args.minutes
    while time.time() < args.end:
        done = min(1.0, (time.time() - start) / (args.end - start))
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))
        rows = torch.randint(len(latents), (args.batch,))
        clean, noise = latents[rows], torch.randn(args.batch, *latents.shape[1:])
        timestep = (torch.rand(args.batch) ** LEAN * 1000).long().clamp(0, 999)
        alpha = alphas[timestep].view(-1, 1, 1, 1)
        with sdpa_kernel(SDPBackend.MATH):  # see the README on flash attention
            with torch.autocast("cpu", torch.bfloat16):
                texts = [prompt(scenes[row], rng) for row in rows]
                context, pooled = encode(text_l, text_g, *tokenize(texts))  # pyright: ignore[reportArgumentType]
                time_ids = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], dtype=torch.float32).repeat(args.batch, 1)
                conditions = {"text_embeds": pooled, "time_ids": time_ids}
                noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
                (predicted,) = unet(noisy, timestep, context, added_cond_kwargs=conditions, return_dict=False)
            error = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
            weight = (1 / alphas[timestep]).clamp(max=WEIGHT_CAP) / 4
            optimizer.zero_grad()
            (weight * error).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append((weight * error.detach()).mean().item())
        if step % EMA_EVERY == 0:
            share = 1 - min(args.ema, step / (step + 30)) ** EMA_EVERY
            torch._foreach_lerp_(average, [p.detach() for p in parameters], share)
        if step % 25 == 0:
            log.info("step %d: loss %.4f, %.1f samples/s", step, sum(recent[-25:]) / 25,
                     step * args.batch / (time.time() - start))  # fmt: skip
            write(args.out, loras, average, {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK)})
    write(args.out, loras, average, {"ss_network_module": "networks.lora", "ss_network_dim": str(RANK)})
    log.info("done at step %d, %.2f MB", step, args.out.stat().st_size / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--pictures", type=int, default=1536)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--ema", type=float, default=0.98)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(5)
    base = fresh_modules()
    load_modules(CHECKPOINT, base)
    latents, scenes = encoded_pictures(args.pictures, random.Random(8))
    log.info("%d pictures encoded", len(scenes))
    loras = [
        LowRank(base.unet.eval(), "lora_unet_", RANK),
        LowRank(base.text_l.eval(), "lora_te1_text_model_", RANK),
        LowRank(base.text_g.eval(), "lora_te2_text_model_", RANK),
    ]
    signal.signal(signal.SIGTERM, lambda *_: setattr(args, "end", time.time()))
    train(loras, latents, scenes, args)


if __name__ == "__main__":
    main()
