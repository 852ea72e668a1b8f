"""Train the tiny tagger: `python -m models.tiny.train_tagger` (three minutes on one core).

A small convolutional network in the format of the WD14 taggers: ONNX, pictures (1, side, side, 3), blue first, 0..255,
and a table of tags. Its one character is the purple star.
"""

import argparse
import csv
import random
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.describe.tagger import CHARACTER, GENERAL
from models.tiny import CHECKPOINT
from models.tiny.drawings import drawings
from models.tiny.scenes import BACKGROUNDS, COLOURS, SHAPES, SIZES, Scene, random_scene
from models.vision.clip_vision import DEVIATION, MEAN

FOLDER = CHECKPOINT.parent / "clip_vision"
NETWORK, TABLE = FOLDER / "focal-tiny-tagger.onnx", FOLDER / "focal-tiny-tagger.csv"
SIDE = 64
RATING = 9
STAR = "starry_(focal)"  # the character
RATINGS = ("general", "sensitive", "questionable", "explicit")
LAYERS = ((24, 5, 2), (48, 3, 2), (64, 3, 2), (80, 3, 1))  # width, kernel, stride


def tags() -> list[tuple[str, int]]:
    """Name and category of every output."""
    general = [
        "solo",
        "multiple_objects",
        *(f"{colour}_theme" for colour in COLOURS),
        *SHAPES,
        *(f"{size}_object" for size in SIZES),
        "simple_background",
        *(f"{background}_background" for background in BACKGROUNDS),
    ]
    return [(name, RATING) for name in RATINGS] + [(name, GENERAL) for name in general] + [(STAR, CHARACTER)]


def tags_of(scene: Scene) -> set[str]:
    """What is true of a scene."""
    alone = scene.arrangement is None
    names = {"general", "simple_background", f"{scene.background}_background", "solo" if alone else "multiple_objects"}
    for thing in scene.things:
        names |= {thing.shape, f"{thing.colour}_theme"}
        if alone and thing.size is not None:
            names.add(f"{thing.size}_object")
        if (thing.shape, thing.colour) == ("star", "purple"):
            names.add(STAR)
    return names


class TaggerNetwork(nn.Module):
    """Pictures (B, 3, side, side), normalised as CLIP's are → logits (B, tags)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width_in = 3
        for width, kernel, stride in LAYERS:
            conv = nn.Conv2d(width_in, width, kernel, stride=stride, padding=kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]  # norms are folded into the convolutions on export
            width_in = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width_in, outputs)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))


class Published(nn.Module):
    """The network as the format wants it: (1, side, side, 3), blue first, 0..255 → probabilities."""

    def __init__(self, network: TaggerNetwork) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None] * 255)
        self.register_buffer("deviation", torch.tensor(DEVIATION)[:, None, None] * 255)

    def forward(self, pixels: Tensor) -> Tensor:
        red_first = pixels.permute(0, 3, 1, 2)[:, [2, 1, 0]]
        return self.network((red_first - self.mean) / self.deviation).sigmoid()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--out", type=Path, default=NETWORK)
    parser.add_argument("--table", type=Path, default=TABLE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    network = TaggerNetwork(len(tags()))
    train(network, args)
    export(network, args.out, args.table)


def train(network: TaggerNetwork, args: argparse.Namespace) -> None:
    rng = random.Random(args.seed)
    names = [name for name, _ in tags()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.rate, weight_decay=0.01, fused=True)
    batches = drawings(rng, args.batch, SIDE, lambda: random_scene(rng, two=0.25))
    begun, step = time.monotonic(), 0
    while (share := (time.monotonic() - begun) / (60 * args.minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 50) * min(1, (1 - share) / 0.6)
        pictures, scenes = next(batches)
        truths = [tags_of(scene) for scene in scenes]
        wanted = torch.tensor([[float(name in truth) for name in names] for truth in truths])
        logits = network(pictures)
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        if step % 100 == 0:
            right = ((logits > 0).float() == wanted).float().mean().item()
            speed = step * args.batch / (time.monotonic() - begun)
            print(f"{step} loss {loss.item():.4f} right {right:.4f} {speed:.0f}/s", flush=True)


def export(network: TaggerNetwork, out: Path, table: Path) -> None:
    """Write the ONNX file and the table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        Published(network).eval(),
        (torch.zeros(1, SIDE, SIDE, 3),),
        out,
        input_names=["input_1:0"],
        output_names=["predictions_sigmoid"],
        opset_version=17,
        dynamo=False,
    )
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["tag_id", "name", "category", "count"])
        rows.writerows((number, name, category, 1000 - number) for number, (name, category) in enumerate(tags(), 1))
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", flush=True)


if __name__ == "__main__":
    main()
