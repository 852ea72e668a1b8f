"""U²-Net, IS-Net and their kin as ONNX files: a picture to a mask of what stands out in it, or of clothes.

Papers: Qin et al. 2020 (U²-Net), Qin et al. 2022 (IS-Net). The files are those that rembg publishes; sizes, means and
deviations are what it feeds them (Fooocus behaviour §5.9).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.errors import BadModelFile
from models.files.image import to_uint8
from models.onnx import OnnxFile, open_onnx

Category = Literal["full", "upper", "lower"]

CLASS_OF: Mapping[str, int] = {"upper": 1, "lower": 2, "full": 3}
"""Classes of the cloth model; 0 is no cloth, `full` is what covers all of a body, such as a dress."""
CLASSES = 4


@dataclass(frozen=True)
class Feeding:
    """What a network was trained on. side_px: of the square that pictures are stretched to, unless the file says it."""

    side_px: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


IMAGENET = (0.485, 0.456, 0.406)
U2NET = Feeding(320, IMAGENET, (0.229, 0.224, 0.225))
FEEDINGS: Mapping[str, Feeding] = {
    "u2net_cloth_seg": Feeding(768, IMAGENET, (0.229, 0.224, 0.225)),
    "isnet-general-use": Feeding(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    "isnet-anime": Feeding(1024, IMAGENET, (1.0, 1.0, 1.0)),
}
"""By the file's name, in which alone they differ; every other file is fed like U²-Net."""


@dataclass(frozen=True)
class MaskNetwork:
    """An opened file. One output channel is what stands out, four are clothes."""

    file: OnnxFile
    feeding: Feeding
    side_px: int

    def mask(self, image: Tensor, category: Category = "full") -> Tensor:
        """Find masks (B, H, W), 0..1 in 8-bit steps, of pictures (B, H, W, 3). category: of clothes only."""
        return torch.from_numpy(np.stack([self._one(pixels, category) for pixels in to_uint8(image[..., :3])]))

    def _one(self, pixels: np.ndarray, category: Category) -> np.ndarray:
        height, width = pixels.shape[:2]
        first = next(iter(self.file.outputs))
        (found,) = self.file.run(fed(pixels, self.feeding, self.side_px), [first])
        if found.shape[1] == 1:
            mask = Image.fromarray(stretched(found[0, 0])).resize((width, height), Image.Resampling.LANCZOS)
        else:
            chosen = (found[0].argmax(0) == CLASS_OF[category]).astype(np.uint8) * 255
            mask = Image.fromarray(chosen).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(mask, dtype=np.float32) / 255.0


def open_mask_network(path: str | Path) -> MaskNetwork:
    """Open a file of the family; its name decides how pictures are fed. Raises BadModelFile."""
    path = Path(path)
    file = open_onnx(path)
    feeding = FEEDINGS.get(path.stem, U2NET)
    wanted, given = next(iter(file.inputs.values())), next(iter(file.outputs.values()))
    if len(wanted) != 4 or wanted[1] not in (3, None) or len(given) != 4 or given[1] not in (1, CLASSES, None):
        fault = f"turns {wanted} into {given}, which is no mask of a picture"
        raise BadModelFile(path, fault, "Use a file of the U²-Net or IS-Net kind, as rembg publishes them.")
    return MaskNetwork(file, feeding, wanted[2] or feeding.side_px)


def fed(pixels: np.ndarray, feeding: Feeding, side_px: int) -> np.ndarray:
    """Make (H, W, 3) uint8 a network's input (1, 3, side, side): stretched, relative to its brightest value."""
    square = Image.fromarray(pixels).resize((side_px, side_px), Image.Resampling.LANCZOS)
    values = np.asarray(square, dtype=np.float64)
    values = values / max(values.max(), 1e-6)
    values = (values - np.array(feeding.mean)) / np.array(feeding.deviation)
    return values.transpose(2, 0, 1)[None].astype(np.float32)


def stretched(values: np.ndarray) -> np.ndarray:
    """Stretch what a network says to 0..255; where it says the same everywhere, nothing stands out."""
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    return ((values - low) / (high - low) * 255).astype(np.uint8)
