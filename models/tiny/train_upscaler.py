"""Train the tiny 4x upscaler: `python -m models.tiny.train_upscaler` (minutes on one core).

An ESRGAN network of 16 features on drawn scenes. It begins as a plain interpolation, so that training only has to learn
where edges are. Written in Real-ESRGAN's key names.
"""

import argparse
import io
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from models.formats.plan import fill
from models.tiny import UPSCALER
from models.tiny.scenes import draw, random_scene
from models.upscale.formats import open_upscaler, plan_rrdb
from models.upscale.rrdb import RrdbNet, RrdbSizes

SIZES = RrdbSizes(features=16, growth=8, blocks=2, doublings=2)
PATCH_PX = 32  # of the small picture
FILTERS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR)
DAMAGED = 0.3  # share of the patches with noise or JPEG blocks in the small picture, so that both are not enlarged
SCENES_KEPT = 400  # drawing is slow beside training; patches are cut from a changing pool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on from the weights that are there")
    parser.add_argument("--out", type=Path, default=UPSCALER)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    network = initialised(RrdbNet(SIZES))
    if args.resume:
        load(network, args.out)
    average = train(network, patches(random.Random(args.seed), args.batch), args.seconds, args.rate)
    save(average, args.out)


def initialised(network: RrdbNet) -> RrdbNet:
    """Set the weights so that the untrained network interpolates: colours travel in the first three channels."""
    with torch.no_grad():
        for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            conv.weight *= 0.1
            nn.init.zeros_(conv.bias if conv.bias is not None else torch.zeros(1))
        tent = torch.tensor([0.25, 0.5, 0.25])
        for conv in (network.conv_first, *network.conv_up, network.conv_hr, network.conv_last):
            for channel in range(3):
                conv.weight[channel] = 0
                smooth = conv in list(network.conv_up)
                conv.weight[channel, channel] = (
                    tent[:, None] * tent if smooth else torch.eye(3)[1][:, None] * torch.eye(3)[1]
                )
    return network


def train(network: RrdbNet, batches: Iterator[tuple[Tensor, Tensor]], seconds: float, rate: float) -> RrdbNet:
    """Minimise the squared error; returns the running mean of the weights."""
    average = RrdbNet(SIZES)
    average.load_state_dict(network.state_dict())
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    begun, step = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - share)
        small, large = next(batches)
        error = F.mse_loss(network(small), large)
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        step += 1
        with torch.no_grad():
            keep = min(0.99, step / (step + 10))
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        if step % 50 == 1:
            psnr = -10 * np.log10(error.item())
            sys.stdout.write(f"{share:4.0%} step {step:5} PSNR of the batch {psnr:.2f} dB\n")
            sys.stdout.flush()
    return average


def patches(rng: random.Random, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (small, large) batches (B, 3, P, P), (B, 3, 4P, 4P), cut where there is something to see."""
    scenes: list[Image.Image] = []
    while True:
        while len(scenes) < SCENES_KEPT // 8 or rng.random() < 0.5:
            if len(scenes) >= SCENES_KEPT:
                scenes.pop(rng.randrange(len(scenes)))
            side = rng.choice((256, 384, 512, 640))
            scenes.append(draw(random_scene(rng), side, side, rng))
        pairs = [_pair(rng, rng.choice(scenes)) for _ in range(batch)]
        small, large = (torch.stack([_tensor(pair[k]) for pair in pairs]) for k in (0, 1))
        yield small, large


def _pair(rng: random.Random, scene: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Cut a patch, preferring those with an edge, and make it small."""
    side = PATCH_PX * SIZES.scale
    large = scene
    for _ in range(4):
        left, top = (rng.randrange(0, (extent - side) // 4 + 1) * 4 for extent in scene.size)
        large = scene.crop((left, top, left + side, top + side))
        if np.asarray(large).std(axis=(0, 1)).max() > 5:
            break
    small = large.resize((PATCH_PX, PATCH_PX), rng.choice(FILTERS))
    return _damaged(rng, small) if rng.random() < DAMAGED else small, large


def _damaged(rng: random.Random, small: Image.Image) -> Image.Image:
    if rng.random() < 0.5:
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=rng.randint(60, 95))
        return Image.open(stream).convert("RGB")
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 6), np.asarray(small).shape)
    return Image.fromarray((np.asarray(small) + noise).clip(0, 255).astype(np.uint8))


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)


def load(network: RrdbNet, path: Path) -> None:
    """Read the weights of an earlier run."""
    with open_upscaler(path) as file, torch.no_grad():
        fill(network, file, plan_rrdb(file)[1])


def save(network: RrdbNet, path: Path) -> None:
    """Write the weights as Real-ESRGAN names them."""
    tensors = {}
    for name, tensor in network.state_dict().items():
        parts = name.split(".")
        if parts[0] == "conv_up":
            parts[:2] = [f"conv_up{int(parts[1]) + 1}"]
        tensors[".".join(parts)] = tensor.contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt", "focal.recipe": "models/tiny/train_upscaler.py"})


if __name__ == "__main__":
    main()
