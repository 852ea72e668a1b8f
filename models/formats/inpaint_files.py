"""Fooocus' inpaint engines as files: the head and the quantised patches (Fooocus behaviour §5.4.6, §6.2).

Head: `fooocus_inpaint_head.pth`, a table with the one weight `head`, (C, 5, 3, 3). Patch: `*.fooocus.patch` of all
engines (v1, v2.5, v2.6), a table of UNet parameter → (q, low, high): the change is q / 255 · (high - low) + low.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import BadModelFile
from models.formats.pickled import open_either, read_pickle

HEAD = "head"
HEAD_SHAPE = (5, 3, 3)  # after the output channels: mask and four latent channels, 3 x 3
PREFIX = "diffusion_model."
LEVELS = 255
_OTHER = "Use the .fooocus.patch file of an inpaint engine (v1, v2.5 or v2.6)."


@dataclass(frozen=True)
class QuantizedDelta:
    """The change of one weight in 8 bits. values: uint8 in the weight's shape; low, high: broadcast against it."""

    values: Tensor
    low: Tensor
    high: Tensor

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        """Return weight + strength · change, float32."""
        values, low, high = (t.to(weight.device, torch.float32) for t in (self.values, self.low, self.high))
        return weight + strength * (values / LEVELS * (high - low) + low)


def read_head(path: str | Path) -> Tensor:
    """Read the head's weight, float32 (C, 5, 3, 3). Raises BadModelFile."""
    path = Path(path)
    with open_either(path) as file:
        shape = file.shape(HEAD)
        if shape is None or shape[1:] != HEAD_SHAPE:
            fault = f"is no inpaint head: it needs {HEAD!r} of (C, 5, 3, 3), not {shape}"
            raise BadModelFile(path, fault, "Use fooocus_inpaint_head.pth.")
        return file.tensor(HEAD).float().clone()


def read_patch(path: str | Path) -> dict[str, QuantizedDelta]:
    """Read a patch by names of UNet parameters. Values stay on the disk until they are merged. Raises BadModelFile."""
    path = Path(path)
    content = read_pickle(path)
    if not isinstance(content, Mapping) or not content:
        raise BadModelFile(path, "is no table of weights", _OTHER)
    deltas = {_parameter(path, name): _delta(path, name, entry) for name, entry in content.items()}
    if sum(delta.values.nbytes for delta in deltas.values()) > path.stat().st_size:
        raise BadModelFile(path, "describes more weights than it holds", _OTHER)
    return deltas


def _parameter(path: Path, name: Any) -> str:
    if not isinstance(name, str) or not name.startswith(PREFIX):
        raise BadModelFile(path, f"names {str(name)[:80]!r}, which is no weight of a UNet", _OTHER)
    return name.removeprefix(PREFIX)


def _delta(path: Path, name: str, entry: Any) -> QuantizedDelta:
    fault = f"has no 8-bit change with its range for {name[:80]!r}"
    if not isinstance(entry, tuple | list) or len(entry) != 3:
        raise BadModelFile(path, fault, _OTHER)
    values, low, high = (part if isinstance(part, Tensor) else _number(path, fault, part) for part in entry)
    if values.dtype is not torch.uint8 or not all(_broadcasts(bound, values) for bound in (low, high)):
        raise BadModelFile(path, fault, _OTHER)
    return QuantizedDelta(values, low, high)


def _number(path: Path, fault: str, part: Any) -> Tensor:
    if not isinstance(part, int | float):
        raise BadModelFile(path, fault, _OTHER)
    return torch.tensor(float(part))


def _broadcasts(bound: Tensor, values: Tensor) -> bool:
    """Whether a bound is a number per weight, row or the like, and not larger than the weight."""
    try:
        return torch.broadcast_shapes(bound.shape, values.shape) == values.shape and bound.is_floating_point()
    except RuntimeError:
        return False
