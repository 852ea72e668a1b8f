"""Train the tiny face detector: `python -m models.tiny.train_faces` (minutes on one core).

A RetinaFace of a few channels on drawn faces, in the names of `detection_Resnet50_Final.pth`. Many of them stand before
photographs, in which there are no faces: scikit-image brings them.
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

from models.tiny import FACE_DETECTOR
from models.tiny.faces import DrawnFace, drawn_faces
from models.vision.faces import MEAN_BGR
from models.vision.retinaface import VARIANCES, FaceSizes, Norm, RetinaFace, anchors, overlap_of

SIZES = FaceSizes(stem=12, stages=((1, 8, 24), (2, 12, 40), (2, 16, 64), (1, 24, 96)), neck=32)
SIDE_PX = 160
MATCHED, UNMATCHED = 0.35, 0.3  # overlap of an anchor with a face from which it shall say so, and up to which not
NEGATIVES = 5  # for each matched anchor, the worst ones count
KEPT = 1200  # drawn pictures; a quarter of each batch is new
PHOTOGRAPHS = (
    "brick", "cell", "chelsea", "coffee", "color", "grass", "gravel", "hubble_deep_field", "ihc", "moon",
    "motorcycle_left", "motorcycle_right", "page", "retina", "rocket", "text",
)  # fmt: skip
Row = tuple[Tensor, Tensor, Tensor, Tensor]  # pixels, labels, box offsets, landmark offsets


def trainable(network: RetinaFace) -> RetinaFace:
    """Put real batch normalisation, of the same names, in the places of `Norm`; draw the weights."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Norm):
                setattr(module, name, nn.BatchNorm2d(len(child.weight), momentum=0.03))
    for conv in (module for module in network.modules() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    for head in ("ClassHead", "BboxHead", "LandmarkHead"):
        for one in network.get_submodule(head).modules():
            if isinstance(one, nn.Conv2d):
                nn.init.normal_(one.weight, std=0.01)
                nn.init.zeros_(one.bias)
    return network


def targets(faces: list[DrawnFace], places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each anchor 1, 0 or −1 (does not count), and the offsets it shall give."""
    labels = torch.zeros(len(places), dtype=torch.long)
    boxes, landmarks = torch.zeros(len(places), 4), torch.zeros(len(places), 10)
    corners = torch.cat((places[:, :2] - places[:, 2:] / 2, places[:, :2] + places[:, 2:] / 2), dim=-1)
    for face in faces:
        box = torch.tensor(face.box)
        shares = overlap_of(box, corners)
        mine = (shares > MATCHED) | (shares == shares.max())
        labels[(shares > UNMATCHED) & ~mine & (labels == 0)] = -1
        labels[mine] = 1
        centres, sides = places[mine, :2], places[mine, 2:]
        middle, extent = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
        boxes[mine, :2] = (middle - centres) / sides / VARIANCES[0]
        boxes[mine, 2:] = (extent / sides).log() / VARIANCES[1]
        points = torch.from_numpy(face.landmarks).float()
        landmarks[mine] = ((points - centres[:, None]) / sides[:, None] / VARIANCES[0]).flatten(1)
    return labels, boxes, landmarks


def photographs() -> list[Image.Image]:
    """scikit-image's pictures on which nobody is to be seen."""
    from skimage import data

    folder = Path(data.__file__).parent
    return [Image.open(path).convert("RGB") for path in sorted(folder.iterdir()) if path.stem in PHOTOGRAPHS]


def row(rng: random.Random, places: Tensor, behind: list[Image.Image]) -> Row:
    picture, faces = drawn_faces(SIDE_PX, SIDE_PX, rng, photographs=behind)
    pixels = np.asarray(picture)[..., ::-1].astype(np.float32) - np.array(MEAN_BGR, dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1).half(), *targets(faces, places)


def loss_of(network: RetinaFace, rows: list[Row]) -> tuple[Tensor, float]:
    pixels, labels, boxes, landmarks = (torch.stack(part) for part in zip(*rows, strict=True))
    logits, found_boxes, found_landmarks = network(pixels.float())
    positive = labels == 1
    surprise = F.cross_entropy(logits.transpose(1, 2), labels.clamp(min=0), reduction="none")
    count = int(positive.sum())
    hardest = surprise[labels == 0].topk(min(NEGATIVES * count + 32, int((labels == 0).sum()))).values
    shape = F.smooth_l1_loss(found_boxes[positive], boxes[positive], reduction="sum")
    points = F.smooth_l1_loss(found_landmarks[positive], landmarks[positive], reduction="sum")
    loss = (surprise[positive].sum() + hardest.sum() + shape + points) / max(count, 1)
    off = (found_landmarks[positive] - landmarks[positive]).abs().mean() * VARIANCES[0]
    return loss, off.item()


def train(network: RetinaFace, seconds: float, batch: int, rate: float, seed: int) -> None:
    rng, places, behind = random.Random(seed), anchors(SIDE_PX, SIDE_PX), photographs()
    kept = [row(rng, places, behind) for _ in range(KEPT // 6)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01, fused=True)
    begun, step = time.monotonic(), 0
    network.train()
    while (share := (time.monotonic() - begun) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 50) * (0.5 * (1 + np.cos(np.pi * share)) + 0.01)
        fresh = [row(rng, places, behind) for _ in range(batch // 4)]
        kept = (kept + fresh)[-KEPT:]
        loss, off = loss_of(network, fresh + [rng.choice(kept) for _ in range(batch - len(fresh))])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step += 1
        if step % 50 == 1:
            speed = step * batch / (time.monotonic() - begun)
            sys.stdout.write(f"{share:4.0%} step {step} {speed:.0f}/s loss {loss.item():.3f} landmarks {off:.3f}\n")
            sys.stdout.flush()


def save(network: RetinaFace, path: Path) -> None:
    """Write fp16 in the published names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {n: t.half().contiguous() for n, t in network.state_dict().items() if "num_batches" not in n}
    save_file(tensors, path, metadata={"format": "pt", "focal.recipe": "models/tiny/train_faces.py"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=FACE_DETECTOR)
    parser.add_argument("--warm-start", type=Path, help="go on from these weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    network = trainable(RetinaFace(SIZES))
    if args.warm_start:
        network.load_state_dict({n: t.float() for n, t in load_file(args.warm_start).items()}, strict=False)
    train(network, 60 * args.minutes, args.batch, args.rate, args.seed)
    save(network, args.out)


if __name__ == "__main__":
    main()
