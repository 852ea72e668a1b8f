"""Random Segment Anything and GroundingDINO checkpoints in their authors' layout, and what the authors' code answered.

`masks_recorded.json` has the names and shapes that the packages segment-anything 1.0 and groundingdino-py 0.4.0 give
their tensors, at small sizes, and what both answered with the weights made here (recorded on 2026-11-21, on a CPU).
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("masks_recorded.json").read_text(encoding="utf-8"))
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", "red", "circle", "blue", "##s", "star", "a")
WINDOW = 7
HEIGHT, WIDTH = 150, 200


def weights(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Numbers that depend on the names only, of a size at which signals neither vanish nor grow."""
    return {name: _weight(name, tuple(shape)) for name, shape in shapes.items()}


def _weight(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("relative_position_index"):
        return relative_positions()
    name = re.sub(r"^(transformer\.decoder\.)?bbox_embed\.\d+", "bbox_embed", name)  # one layer under many names
    numbers = np.random.default_rng(crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        numbers /= np.prod(shape[1:]) ** 0.5
        numbers *= 3.0 if "pos_embed" in name or "gaussian" in name else 1.0
    elif name.endswith("weight"):
        numbers = 1 + 0.1 * numbers
    else:
        numbers *= 0.05
    return torch.from_numpy(numbers.astype(np.float32))


def relative_positions() -> Tensor:
    """Swin's table index of every pair of pixels of a window: by the difference of rows, then of columns."""
    rows, columns = np.divmod(np.arange(WINDOW * WINDOW), WINDOW)
    down, right = (np.subtract.outer(axis, axis) + WINDOW - 1 for axis in (rows, columns))
    return torch.from_numpy(down * (2 * WINDOW - 1) + right)


def picture() -> np.ndarray:
    """(150, 200, 3) uint8: waves of three colours."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [np.sin(x / 17) * np.cos(y / 23), np.cos((x + y) / 31), np.sin(x / 11 - y / 7)]
    return (127.5 + 127 * np.stack(waves, axis=-1)).astype(np.uint8)


def save_sam(path: Path) -> Path:
    """Write the Segment Anything checkpoint."""
    torch.save(weights(RECORDED["sam"]["shapes"]), path)
    return path


def save_grounding_dino(path: Path) -> Path:
    """Write the GroundingDINO checkpoint, below the key `model`, every name with `module.` in front."""
    torch.save({"model": {f"module.{k}": v for k, v in weights(RECORDED["dino"]["shapes"]).items()}}, path)
    return path


def save_vocabulary(path: Path) -> Path:
    """Write the vocabulary."""
    path.write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return path
