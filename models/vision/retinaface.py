"""RetinaFace with a ResNet body, in the names of `detection_Resnet50_Final.pth` (facexlib, MIT).

Deng et al. 2019, "RetinaFace", https://arxiv.org/abs/1905.00641; He et al. 2015, https://arxiv.org/abs/1512.03385.
"""

from dataclasses import dataclass
from itertools import product
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)  # of the three maps on which faces are looked for
FACE_SIDES_PX = ((16, 32), (64, 128), (256, 512))  # of the anchors on each map
LANDMARKS = 5  # eyes, nose, corners of the mouth; the left of the picture first
VARIANCES = (0.1, 0.2)  # scale of offsets and of logarithmic sizes
LEAKY_UP_TO = 64  # channels: narrower necks were trained with a leak of 0.1, wider ones without


@dataclass(frozen=True)
class FaceSizes:
    """stem: channels of the first convolution. stages: (blocks, inner width, outer width). neck: of the pyramid."""

    stem: int
    stages: tuple[tuple[int, int, int], ...]
    neck: int


@dataclass(frozen=True)
class Faces:
    """Of one picture, in pixels, surest first. scores: (N,). boxes: (N, 4), left, top, right, bottom.

    landmarks: (N, 5, 2), x and y.
    """

    scores: Tensor
    boxes: Tensor
    landmarks: Tensor


class RetinaFace(nn.Module):
    """Finds faces at every place of three maps of a picture."""

    def __init__(self, sizes: FaceSizes) -> None:
        super().__init__()
        self.sizes = sizes
        widths = [outer for _, _, outer in sizes.stages[1:]]
        self.body = nn.ModuleDict(_body(sizes))
        self.fpn = nn.ModuleDict(_pyramid(widths, sizes.neck))
        for number in range(1, len(STRIDES) + 1):
            self.add_module(f"ssh{number}", Context(sizes.neck))
        for name, values in (("ClassHead", 2), ("BboxHead", 4), ("LandmarkHead", 2 * LANDMARKS)):
            heads = [nn.ModuleDict({"conv1x1": nn.Conv2d(sizes.neck, len(s) * values, 1)}) for s in FACE_SIDES_PX]
            self.add_module(name, nn.ModuleList(heads))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read pictures (B, 3, H, W), BGR, 0..255 with the mean taken off.

        Returns for all anchors, map by map: logits (B, N, 2) of "no face" and "face", box offsets (B, N, 4) and
        landmark offsets (B, N, 10).
        """
        maps = [self.get_submodule(f"ssh{i}")(x) for i, x in enumerate(self._pyramid(pixels), start=1)]
        return (
            self._answers("ClassHead", maps, 2),
            self._answers("BboxHead", maps, 4),
            self._answers("LandmarkHead", maps, 2 * LANDMARKS),
        )

    def _pyramid(self, pixels: Tensor) -> list[Tensor]:
        body, fpn = self.body, self.fpn
        h = F.relu(body["bn1"](body["conv1"](pixels)))
        h = F.max_pool2d(h, 3, stride=2, padding=1)
        found = []
        for number in range(1, len(self.sizes.stages) + 1):
            for block in body[f"layer{number}"]:  # pyright: ignore[reportGeneralTypeIssues]
                h = block(h)
            found.append(h)
        fine, middle, coarse = (fpn[f"output{i}"](x) for i, x in enumerate(found[1:], start=1))
        middle = fpn["merge2"](middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = fpn["merge1"](fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return [fine, middle, coarse]

    def _answers(self, head: str, maps: list[Tensor], values: int) -> Tensor:
        heads = self.get_submodule(head)
        outputs = [one["conv1x1"](x) for one, x in zip(heads, maps, strict=True)]  # pyright: ignore[reportArgumentType, reportIndexIssue]
        return torch.cat([out.permute(0, 2, 3, 1).reshape(len(out), -1, values) for out in outputs], dim=1)


def anchors(height: int, width: int) -> Tensor:
    """Return the places that are looked at in a picture, (N, 4): centre x, y, width, height, in pixels."""
    rows = []
    for stride, sides in zip(STRIDES, FACE_SIDES_PX, strict=True):
        places = product(range(ceil(height / stride)), range(ceil(width / stride)), sides)
        rows += [((column + 0.5) * stride, (row + 0.5) * stride, side, side) for row, column, side in places]
    return torch.tensor(rows, dtype=torch.float32)


def read_faces(outputs: tuple[Tensor, Tensor, Tensor], places: Tensor, least: float, overlap: float) -> Faces:
    """Turn one picture's outputs into faces above a score; of those that overlap more, the surest is kept."""
    scores = outputs[0][0].float().softmax(dim=-1)[:, 1]
    chosen = (scores > least).nonzero().flatten()
    chosen = chosen[scores[chosen].argsort(descending=True)]
    centres, sides = places[chosen, :2], places[chosen, 2:]
    offsets = outputs[1][0].float()[chosen]
    middles = centres + offsets[:, :2] * VARIANCES[0] * sides
    halves = sides * (offsets[:, 2:] * VARIANCES[1]).exp() / 2
    boxes = torch.cat((middles - halves, middles + halves), dim=-1)
    landmarks = outputs[2][0].float()[chosen].unflatten(-1, (LANDMARKS, 2)) * VARIANCES[0] * sides[:, None]
    kept = _apart(boxes, overlap)
    return Faces(scores[chosen][kept], boxes[kept], (landmarks + centres[:, None])[kept])


def _apart(boxes: Tensor, overlap: float) -> list[int]:
    """Greedy non-maximum suppression; boxes (N, 4) come surest first."""
    left = list(range(len(boxes)))
    kept: list[int] = []
    while left:
        first, *others = left
        kept.append(first)
        shared = overlap_of(boxes[first], boxes[others])
        left = [place for place, share in zip(others, shared.tolist(), strict=True) if share <= overlap]
    return kept


def overlap_of(box: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of a box (4,) with others (N, 4), as (N,)."""
    top_left, bottom_right = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    areas = (others[:, 2:] - others[:, :2]).prod(dim=-1)
    return shared / ((box[2:] - box[:2]).prod() + areas - shared)


class Norm(nn.Module):
    """Batch normalisation with what was learned of the batches; all four tensors are parameters here."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias, self.running_mean, self.running_var = (
            nn.Parameter(torch.empty(channels)) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class Bottleneck(nn.Module):
    """ResNet's residual block of three convolutions; the middle one strides."""

    def __init__(self, channels_in: int, width: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = Norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = Norm(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = Norm(channels_out)
        self.downsample = None
        if stride != 1 or channels_in != channels_out:
            skip = nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(skip, Norm(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        h = self.bn3(self.conv3(h))
        return F.relu(h + (x if self.downsample is None else self.downsample(x)))


class Context(nn.Module):
    """RetinaFace's context module ("SSH"): the surroundings of a place at three ranges, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        leak = leak_of(width)
        self.conv3X3 = _conv(width, width // 2)
        self.conv5X5_1 = _conv(width, width // 4, leak=leak)
        self.conv5X5_2 = _conv(width // 4, width // 4)
        self.conv7X7_2 = _conv(width // 4, width // 4, leak=leak)
        self.conv7x7_3 = _conv(width // 4, width // 4)

    def forward(self, x: Tensor) -> Tensor:
        further = self.conv5X5_1(x)
        furthest = self.conv7x7_3(self.conv7X7_2(further))
        return F.relu(torch.cat((self.conv3X3(x), self.conv5X5_2(further), furthest), dim=1))


def leak_of(width: int) -> float:
    """The slope below 0 of the activations behind the body."""
    return 0.1 if width <= LEAKY_UP_TO else 0.0


def _conv(channels_in: int, channels_out: int, side: int = 3, leak: float | None = None) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, side, padding=side // 2, bias=False)
    parts: list[nn.Module] = [conv, Norm(channels_out)]
    return nn.Sequential(*parts, *([] if leak is None else [nn.LeakyReLU(leak)]))


def _body(sizes: FaceSizes) -> dict[str, nn.Module]:
    stem = nn.Conv2d(3, sizes.stem, 7, stride=2, padding=3, bias=False)
    found: dict[str, nn.Module] = {"conv1": stem, "bn1": Norm(sizes.stem)}
    channels = sizes.stem
    for number, (count, width, outer) in enumerate(sizes.stages, start=1):
        blocks = []
        for place in range(count):
            blocks.append(Bottleneck(channels, width, outer, stride=2 if place == 0 and number > 1 else 1))
            channels = outer
        found[f"layer{number}"] = nn.ModuleList(blocks)
    return found


def _pyramid(widths: list[int], neck: int) -> dict[str, nn.Module]:
    leak = leak_of(neck)
    found: dict[str, nn.Module] = {
        f"output{i}": _conv(width, neck, side=1, leak=leak) for i, width in enumerate(widths, start=1)
    }
    return found | {f"merge{i}": _conv(neck, neck, leak=leak) for i in (1, 2)}
