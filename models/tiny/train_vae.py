"""Train the tiny VAE: `python -m models.tiny.train_vae --minutes 9`.

Small crops of scenes, L1 + L2 + an edge term + a little KL. At the end the latents are normalised per channel and the
factors baked into quant_conv and post_quant_conv, so that SDXL's standard scaling factor 0.13025 gives latents of
unit variance.
"""

import argparse
import logging
import math
import random
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image, ImageDraw

from models.tiny import WORK
from models.tiny.architecture import VAE_SCALING, new_vae
from models.tiny.scenes import draw, random_scene
from models.tiny.vae_init import start_as_pooling

log = logging.getLogger("tiny.vae")
KL_WEIGHT = 5e-4
BATCH = 8


def training_pictures(count: int, rng: random.Random) -> torch.Tensor:
    """Draw `count` pictures, uint8 (N, 3, 128, 128): scenes, and one in eight a free composition of gradients."""
    pictures = [_composition(rng) if i % 8 == 7 else draw(random_scene(rng), 128, 128, rng) for i in range(count)]
    return torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2).contiguous()


def _composition(rng: random.Random) -> Image.Image:
    """Soft gradients with a few polygons: teaches the VAE colours and edges outside the scene palette."""
    corners = np.array([[[rng.randint(0, 255) for _ in range(3)] for _ in range(2)] for _ in range(2)], dtype=np.uint8)
    picture = Image.fromarray(corners).resize((128, 128), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    for _ in range(rng.randint(1, 4)):
        points = [(rng.randint(0, 127), rng.randint(0, 127)) for _ in range(rng.randint(3, 6))]
        pen.polygon(points, fill=(rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)))
    return picture


def crops(pictures: torch.Tensor, side: int, rng: random.Random) -> torch.Tensor:
    """Cut a batch of square crops, -1..1."""
    batch = []
    for _ in range(BATCH):
        k, y, x = rng.randrange(len(pictures)), rng.randint(0, 128 - side), rng.randint(0, 128 - side)
        batch.append(pictures[k, :, y : y + side, x : x + side])
    return (torch.stack(batch).float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def edge_error(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the first differences along both axes: keeps shape edges crisp."""
    d = a - b
    return d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean()


def train(vae: AutoencoderKL, pictures: torch.Tensor, seconds: float, peak_lr: float, rng: random.Random) -> None:
    """Train in place for `seconds` of wall time with a cosine schedule; crops grow from 32 to 64 pixels."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=peak_lr, weight_decay=0, betas=(0.9, 0.95), foreach=True)
    start, step, recent = time.monotonic(), 0, []
    while (done := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = peak_lr * min(1, (step + 1) / 30) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * done)))
        x = crops(pictures, 32 if done < 0.5 else 48 if done < 0.85 else 64, rng)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        y, mean, logvar = y.float(), posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        error = (y - x).abs().mean() + 2 * ((y - x) ** 2).mean() + 0.5 * edge_error(y, x)
        optimizer.zero_grad()
        (error + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0, foreach=True)
        optimizer.step()
        step += 1
        recent.append((error.item(), kl.item()))
        if step % 100 == 0:
            mean_error, mean_kl = np.mean(recent[-100:], axis=0)
            log.info("step %d, %.0f %%: error %.4f, KL %.2f", step, 100 * done, mean_error, mean_kl)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encode and decode uint8 pictures in small batches. Returns latents and pictures in -1..1."""
    latents, decoded = [], []
    for batch in pictures.split(16):
        z = vae.encode((batch.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)).latent_dist.mean
        latents.append(z)
        decoded.append(vae.decode(z).sample.clamp(-1, 1))
    return torch.cat(latents), torch.cat(decoded)


@torch.no_grad()
def bake_unit_variance(vae: AutoencoderKL, latents: torch.Tensor) -> None:
    """Fold a per-channel shift and scale into the two 1x1 convolutions, so that 0.13025 * latent is about N(0, 1)."""
    mean, scale = latents.mean((0, 2, 3)), (1 / VAE_SCALING) / latents.std((0, 2, 3))
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] *= scale.view(4, 1, 1, 1)
    quant.bias[:4] = (quant.bias[:4] - mean) * scale
    quant.bias[4:] += 2 * torch.log(scale)
    post.bias += post.weight[:, :, 0, 0] @ mean
    post.weight /= scale.view(1, 4, 1, 1)


def psnr(decoded: torch.Tensor, pictures: torch.Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all pictures together."""
    return (10 * torch.log10(4 / ((decoded - (pictures.float() / 127.5 - 1)) ** 2).mean())).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--lr", type=float, default=1.2e-3)
    parser.add_argument("--out", type=Path, default=WORK / "vae")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    rng = random.Random(0)
    pictures = training_pictures(3000, rng)
    vae = new_vae()
    start_as_pooling(vae)
    vae = vae.to(memory_format=torch.channels_last)
    train(vae, pictures, 60 * args.minutes, args.lr, rng)
    vae.eval()
    unseen = torch.stack([p for i, p in enumerate(training_pictures(160, random.Random(1))) if i % 8 != 7])
    latents, decoded = reconstruct(vae, unseen)
    log.info(
        "PSNR %.2f dB, latent mean %s std %s", psnr(decoded, unseen), latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    )
    bake_unit_variance(vae, latents)
    baked, again = reconstruct(vae, unseen[:32])
    log.info(
        "baked: scaled std %s, largest change %.5f",
        (baked * VAE_SCALING).std((0, 2, 3)),
        (again - decoded[:32]).abs().max(),
    )
    vae.save_pretrained(args.out)
    rows = [torch.cat(list(x), dim=2) for x in ((unseen[:8].float() / 127.5 - 1), decoded[:8])]
    sheet = ((torch.cat(rows, dim=1).permute(1, 2, 0) + 1) * 127.5).round().to(torch.uint8).numpy()
    Image.fromarray(sheet).save(args.out / "reconstructions.png")


if __name__ == "__main__":
    main()
