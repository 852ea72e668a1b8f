"""Train the tiny U²-Net: `python -m models.tiny.train_u2net` (minutes on one core). It masks the shapes of scenes.

Nested U-blocks in a U, seven outputs, pictures stretched to 320 × 320: what rembg's u2net.onnx takes and gives. Before
the blocks, two convolutions of stride 2 (IS-Net has one) save most of the time. Trained on drawn scenes, half of them
laid on other backgrounds.
"""

import argparse
import io
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor, nn
from torch.nn import functional as F

from models.masks.u2net import U2NET, fed
from models.tiny import U2NET_FILE, WORK
from models.tiny.scenes import Scene, Thing, combinations, draw, random_scene

INNER, OUTER = 8, 16  # channels inside and between blocks
DEPTHS = (4, 4, 3, 3, 2, 1)  # levels of the blocks, from 80 pixels down to 3
SIDE_PX = U2NET.side_px
MASK_PX = SIDE_PX // 4  # of the masks that are trained on
ON_OTHER_GROUND = 0.5  # share of the scenes that are laid on a texture
DAMAGED = 0.4  # share of the pictures with noise, blur or JPEG blocks


class Conv(nn.Sequential):
    """Convolution, normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """A small U with a way around it (the paper's RSU)."""

    def __init__(self, inputs: int, depth: int, outputs: int = OUTER) -> None:
        super().__init__()
        self.entry = Conv(inputs, outputs)
        self.down = nn.ModuleList(Conv(outputs if level == 0 else INNER, INNER) for level in range(depth))
        self.bottom = Conv(INNER, INNER, dilation=2)
        self.up = nn.ModuleList(Conv(2 * INNER, outputs if level == 0 else INNER) for level in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        entered = level = self.entry(x)
        kept = []
        for conv in self.down:
            level = conv(F.max_pool2d(level, 2, ceil_mode=True) if kept else level)
            kept.append(level)
        level = self.bottom(level)
        for conv in reversed(self.up):
            beside = kept.pop()
            level = conv(torch.cat([_sized(level, beside), beside], 1))
        return level + entered


class TinyU2Net(nn.Module):
    """Six blocks down, five up, a mask from each level and one from all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(Conv(3, OUTER, stride=2), Conv(OUTER, OUTER, stride=2))
        self.down = nn.ModuleList(Block(OUTER, depth) for depth in DEPTHS)
        self.up = nn.ModuleList(Block(2 * OUTER, depth) for depth in DEPTHS[:-1])
        self.sides = nn.ModuleList(nn.Conv2d(OUTER, 1, 3, padding=1) for _ in DEPTHS)
        self.joined = nn.Conv2d(len(DEPTHS), 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, S, S) → seven logits (B, 1, S / 4, S / 4), the joined one first."""
        level, kept = self.first(x), []
        for block in self.down:
            level = block(F.max_pool2d(level, 2, ceil_mode=True) if kept else level)
            kept.append(level)
        levels = [kept.pop()]
        for block in reversed(self.up):
            beside = kept.pop()
            levels.insert(0, block(torch.cat([_sized(levels[0], beside), beside], 1)))
        masks = [_sized(side(level), levels[0], "bilinear") for side, level in zip(self.sides, levels, strict=True)]
        return [self.joined(torch.cat(masks, 1)), *masks]


class Published(nn.Module):
    """The network as its file holds it: probabilities, of the input's size."""

    def __init__(self, network: TinyU2Net) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(_sized(mask, x, "bilinear").sigmoid() for mask in self.network(x))


def _sized(x: Tensor, like: Tensor, mode: str = "nearest") -> Tensor:
    height, width = (int(side) for side in like.shape[-2:])
    return F.interpolate(x, size=(height, width), mode=mode)


# ------------------------------------------------------------------------------------------------ pictures


def masked_scene(rng: random.Random, scene: Scene | None = None) -> tuple[Image.Image, Image.Image]:
    """Draw a scene, a training one by default, and the mask ("L") of its things."""
    scene = scene or random_scene(rng)
    side = rng.choice((128, 128, 128, 192, 256))
    width, height = (side, side) if rng.random() < 0.7 else (side, side * 3 // 4)
    white = Scene("black", tuple(Thing(t.shape, "white", t.size, t.place) for t in scene.things), scene.arrangement)
    state = rng.getstate()
    mask = draw(white, width, height, rng).convert("L").point(lambda value: 255 if value > 127 else 0)
    rng.setstate(state)  # places and sizes come from the same draws
    return draw(scene, width, height, rng), mask


def _example(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """A network's input (3, S, S) and its mask (1, S / 4, S / 4)."""
    picture, mask = masked_scene(rng)
    if rng.random() < ON_OTHER_GROUND:
        picture = Image.composite(picture, _texture(rng, picture.size), mask)
    if rng.random() < DAMAGED:
        picture = _damaged(rng, picture)
    if rng.random() < 0.5:
        picture, mask = (image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in (picture, mask))
    wanted = np.asarray(mask.resize((MASK_PX, MASK_PX), Image.Resampling.BOX), dtype=np.float32) / 255
    return fed(np.asarray(picture), U2NET, SIDE_PX)[0], wanted[None]


def _texture(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Noise of some grain, a slope between two colours, or stripes; muted, so that things stand out of it."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    width, height = size
    base = numbers.uniform(40, 210, 3)
    match rng.randrange(3):
        case 0:
            grain = rng.choice((2, 4, 8, 16))
            noise = numbers.normal(0, rng.uniform(8, 40), (height // grain + 2, width // grain + 2, 3))
            small = Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))
            return small.resize(size, Image.Resampling.BICUBIC)
        case 1:
            other = (base + numbers.uniform(-80, 80, 3)).clip(0, 255)
            slope = (
                np.linspace(0, 1, width)[None, :, None]
                if rng.random() < 0.5
                else np.linspace(0, 1, height)[:, None, None]
            )
            return Image.fromarray(np.broadcast_to(base + (other - base) * slope, (height, width, 3)).astype(np.uint8))
        case _:
            picture = Image.new("RGB", size, tuple(int(v) for v in base))
            pen, step = ImageDraw.Draw(picture), rng.randint(6, 24)
            other = tuple(int(v) for v in (base + numbers.uniform(-50, 50, 3)).clip(0, 255))
            slant = rng.randint(-height, height)
            for x in range(-height, width + height, 2 * step):
                pen.line((x, 0, x + slant, height), fill=other, width=step)
            return picture


def _damaged(rng: random.Random, picture: Image.Image) -> Image.Image:
    match rng.randrange(3):
        case 0:
            stream = io.BytesIO()
            picture.save(stream, "JPEG", quality=rng.randint(50, 95))
            return Image.open(stream).convert("RGB")
        case 1:
            return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.5)))
        case _:
            values = np.asarray(picture)
            noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(2, 12), values.shape)
            return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def batches(rng: random.Random, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs (B, 3, S, S) and masks (B, 1, S / 4, S / 4)."""
    while True:
        examples = [_example(rng) for _ in range(size)]
        yield tuple(torch.from_numpy(np.stack([example[k] for example in examples])) for k in (0, 1))  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------ training


def train(network: TinyU2Net, pairs: Iterator[tuple[Tensor, Tensor]], seconds: float, rate: float) -> None:
    """Minimise the cross entropy of all seven masks, ending at a learning rate of 0; SIGTERM ends it earlier."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, fused=True)
    begun, step = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / seconds) < 1 and not stopped:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - share)
        inputs, wanted = next(pairs)
        with torch.autocast("cpu", torch.bfloat16):
            masks = network(inputs)
        error = sum((F.binary_cross_entropy_with_logits(mask.float(), wanted) for mask in masks), torch.zeros(()))
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 1:
            passed = time.monotonic() - begun
            speed = step * len(inputs) / passed
            overlap = iou(masks[0].detach().float() > 0, wanted > 0.5)
            sys.stdout.write(
                f"{share:4.0%} step {step:5} loss {error.item():.3f} IoU {overlap:.3f} {speed:.1f} samples/s\n"
            )
            sys.stdout.flush()


def iou(found: Tensor, wanted: Tensor) -> float:
    """The mean over pictures of intersection over union."""
    both, either = (found & wanted).flatten(1).sum(1), (found | wanted).flatten(1).sum(1)
    return float((both / either.clamp(min=1)).mean())


def held_out_iou(network: TinyU2Net, count: int = 60) -> float:
    """The same on scenes that training never sees."""
    rng, shares = random.Random(5), []
    held = combinations(held=True)
    network.eval()
    for _ in range(count):
        shape, colour, background = rng.choice(held)
        picture, mask = masked_scene(rng, Scene(background, (Thing(shape, colour, rng.choice(("small", "large"))),)))
        inputs = torch.from_numpy(fed(np.asarray(picture), U2NET, SIDE_PX))
        with torch.no_grad():
            found = network(inputs)[0] > 0
        wanted = np.asarray(mask.resize((MASK_PX, MASK_PX), Image.Resampling.BOX)) > 127
        shares.append(iou(found, torch.from_numpy(wanted)[None, None]))
    return float(np.mean(shares))


def export(network: TinyU2Net, path: Path) -> None:
    """Write the ONNX file, with normalisation folded into the convolutions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [f"d{level}" for level in range(len(DEPTHS) + 1)]
    torch.onnx.export(
        Published(network).eval(),
        (torch.zeros(1, 3, SIDE_PX, SIDE_PX),),
        path,
        input_names=["input.1"],
        output_names=names,
        opset_version=17,
        dynamo=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=450)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, default=WORK / "u2net.pt", help="weights to keep, as a run ends")
    parser.add_argument("--resume", action="store_true", help="go on from the weights of an earlier run")
    parser.add_argument("--out", type=Path, default=U2NET_FILE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    network = TinyU2Net()
    if args.resume:
        network.load_state_dict(torch.load(args.state, weights_only=True))
    train(network, batches(random.Random(args.seed), args.batch), args.seconds, args.rate)
    args.state.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), args.state)
    sys.stdout.write(f"IoU on held-out scenes: {held_out_iou(network):.3f}\n")
    export(network, args.out)


if __name__ == "__main__":
    main()
