"""Train the tiny CLIP image encoder: `python -m models.tiny.train_vision` (minutes on one core).

It learns to say what a drawn scene shows: heads on its embedding name background, colours, shapes, size and place, and
a head on the penultimate states, which IP-Adapters read, gives each patch back in small. The heads are thrown away.
Written in the names of transformers' `CLIPVisionModelWithProjection`.
"""

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.formats.vision import HEADS_KEY
from models.tiny import CLIP_VISION
from models.tiny.drawings import recoloured, without_names
from models.tiny.scenes import ARRANGEMENTS, BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, draw, random_scene
from models.vision.clip_vision import DEVIATION, MEAN
from models.vision.encoder import VisionEncoder, VisionSizes

SIZES_OF_ENCODER = VisionSizes(
    width=96, layers=4, hidden=384, patch=16, image=128, projection=64, heads=4, activation="quick_gelu"
)
CELLS = 4  # per side of a patch, that the penultimate states must give back
NOTHING = "nothing"
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": tuple(BACKGROUNDS),
    "arrangement": (NOTHING, *ARRANGEMENTS),
    "colour 1": tuple(COLOURS),
    "shape 1": SHAPES,
    "colour 2": (NOTHING, *COLOURS),
    "shape 2": (NOTHING, *SHAPES),
    "size": (NOTHING, *SIZES),
    "place": (NOTHING, *PLACES),
}
HARD = {"shape 1": 4.0, "shape 2": 2.0}  # what is learned last counts more
NAMELESS = 0.4  # share of the pictures of one thing in colours without a name: no colours may forbid a shape
UNNAMED = -100  # what cross entropy leaves out


class Taught(nn.Module):
    """The encoder with the heads that teach it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = initialised(VisionEncoder(SIZES_OF_ENCODER))
        self.heads = nn.ModuleDict(
            {name: nn.Linear(SIZES_OF_ENCODER.projection, len(values)) for name, values in ATTRIBUTES.items()}
        )
        self.patches = nn.Linear(SIZES_OF_ENCODER.width, CELLS * CELLS * 3)


def initialised(encoder: VisionEncoder) -> VisionEncoder:
    """Draw weights as CLIP does: small, and smaller where layers add up."""
    for name, parameter in encoder.named_parameters():
        if parameter.dim() < 2 and not name.endswith("class_embedding"):
            nn.init.constant_(parameter, 1.0 if name.endswith("weight") else 0.0)
        elif parameter.dim() == 1 or "position" in name:
            nn.init.normal_(parameter, std=0.02)
        else:
            added = name.endswith(("out_proj.weight", "fc2.weight"))
            depth = (2 * SIZES_OF_ENCODER.layers) ** -0.5 if added else 1.0
            nn.init.normal_(parameter, std=depth * parameter[0].numel() ** -0.5)
    return encoder


def labels(scene: Scene) -> list[int]:
    """Return the number of each attribute's value, `UNNAMED` for colours without a name."""
    first = scene.things[0]
    second = scene.things[1] if len(scene.things) > 1 else None
    said = {
        "background": scene.background,
        "arrangement": scene.arrangement or NOTHING,
        "colour 1": first.colour,
        "shape 1": first.shape,
        "colour 2": second.colour if second else NOTHING,
        "shape 2": second.shape if second else NOTHING,
        "size": first.size or NOTHING,
        "place": first.place or NOTHING,
    }
    return [values.index(said[name]) if said[name] else UNNAMED for name, values in ATTRIBUTES.items()]


def as_pixels(picture: Image.Image) -> Tensor:
    """Turn a picture into (3, S, S) uint8 at the encoder's size."""
    side = SIZES_OF_ENCODER.image
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) to what the encoder reads."""
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (pixels.float() / 255 - mean) / deviation


def drawing(rng: random.Random) -> tuple[Tensor, Tensor]:
    """Draw a scene, now and then cut, to be squeezed into the square, as users' pictures are."""
    scene = random_scene(rng)
    side = SIZES_OF_ENCODER.image
    kind = rng.random()
    width, height = (side, side) if kind < 0.8 else (rng.randint(64, 224), rng.randint(64, 224))
    drawn = draw(scene, width, height, rng)
    if scene.arrangement is None and rng.random() < NAMELESS:
        drawn, scene = recoloured(drawn, scene, rng), without_names(scene)
    return as_pixels(drawn), torch.tensor(labels(scene))


def loss_of(taught: Taught, pixels: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss, and the share of right answers by attribute."""
    states = taught.encoder(normalised(pixels))
    loss, right = torch.zeros(()), []
    for column, (name, head) in zip(truth.T, taught.heads.items(), strict=True):
        answers = head(states.embeds.float())
        loss = loss + HARD.get(name, 1.0) * F.cross_entropy(answers, column, label_smoothing=0.05, ignore_index=UNNAMED)
        named = column != UNNAMED
        right.append((answers.argmax(-1) == column)[named].float().mean())
    small = F.avg_pool2d(pixels.float() / 255, SIZES_OF_ENCODER.patch // CELLS)
    wanted = F.unfold(small, CELLS, stride=CELLS).transpose(1, 2)  # (B, patches, 3 · cells²)
    given = taught.patches(states.penultimate[:, 1:].float())
    return loss / len(right) + 10 * F.mse_loss(given, wanted), torch.stack(right)


def train(taught: Taught, seconds: float, batch: int, rate: float, seed: int) -> None:
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(taught.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
    begun, step, seen, recent = time.monotonic(), 0, 0, []
    while (share := (time.monotonic() - begun) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 100) * (0.5 * (1 + np.cos(np.pi * share)) + 0.01)
        pixels, truth = (torch.stack(part) for part in zip(*(drawing(rng) for _ in range(batch)), strict=True))
        with sdpa_kernel(SDPBackend.MATH):  # the CPU's flash attention is slow backwards
            with torch.autocast("cpu", torch.bfloat16):
                loss, right = loss_of(taught, pixels, truth)
            optimizer.zero_grad()
            loss.backward()
        nn.utils.clip_grad_norm_(taught.parameters(), 1.0)
        optimizer.step()
        step, seen = step + 1, seen + batch
        recent = [*recent[-49:], right]
        if step % 100 == 0:
            speed = seen / (time.monotonic() - begun)
            answers = "  ".join(
                f"{n} {r:.0%}" for n, r in zip(ATTRIBUTES, torch.stack(recent).mean(0).tolist(), strict=True)
            )
            sys.stdout.write(f"{share:4.0%} step {step} {speed:.0f}/s loss {loss.item():.3f}  {answers}\n")
            sys.stdout.flush()


def save(encoder: VisionEncoder, path: Path) -> None:
    """Write fp16 in transformers' names. 24-wide heads cannot be seen in the tensors: the header tells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in encoder.state_dict().items()}
    metadata = {
        "format": "pt",
        HEADS_KEY: str(SIZES_OF_ENCODER.heads),
        "focal.recipe": "models/tiny/train_vision.py",
    }
    save_file(tensors, path, metadata=metadata)


def load(path: Path) -> VisionEncoder:
    """Read a trained encoder."""
    encoder = VisionEncoder(SIZES_OF_ENCODER)
    encoder.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return encoder.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warm-start", type=Path, help="begin from a trained encoder; the heads begin anew")
    parser.add_argument("--out", type=Path, default=CLIP_VISION)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    taught = Taught()
    if args.warm_start:
        taught.encoder.load_state_dict(load(args.warm_start).state_dict())
    train(taught, 60 * args.minutes, args.batch, args.rate, args.seed)
    save(taught.encoder, args.out)


if __name__ == "__main__":
    main()
