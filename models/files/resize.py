"""Resizing pictures and latents (B, C, H, W) as ComfyUI's nodes do it (graph-protocol g.2)."""

from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.files.image import to_uint8

ImageMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
LatentMethod = Literal["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]
Crop = Literal["disabled", "center"]

_PARALLEL = 1e-5  # directions closer than this to equal or opposite are not turned


def resize(x: Tensor, width: int, height: int, method: str, crop: Crop = "disabled") -> Tensor:
    """Resize by an ImageMethod or a LatentMethod. crop "center" first trims the longer axis to the new proportions.

    "lanczos" goes through 8-bit pictures and needs 3 or 4 channels; "bicubic" may leave the range of its input.
    """
    x = centre_crop(x, width, height) if crop == "center" else x
    if method == "lanczos":
        return _lanczos(x, width, height)
    if (x.shape[-1], x.shape[-2]) == (width, height):
        return x
    if method == "bislerp":
        return _bislerp(x, width, height)
    return F.interpolate(x, size=(height, width), mode=method)


def centre_crop(x: Tensor, width: int, height: int) -> Tensor:
    """Trim the longer axis of (B, C, H, W) on both sides to the aspect of width x height."""
    old_height, old_width = x.shape[-2:]
    old, new = old_width / old_height, width / height
    columns = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    rows = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return x[..., rows : old_height - rows, columns : old_width - columns]


def _lanczos(x: Tensor, width: int, height: int) -> Tensor:
    pictures = [Image.fromarray(to_uint8(picture)) for picture in x.movedim(1, -1)]
    resized = [np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)) for picture in pictures]
    return torch.from_numpy(np.stack(resized)).float().div(255.0).movedim(-1, 1)


def _bislerp(x: Tensor, width: int, height: int) -> Tensor:
    """Interpolate along the width, then the height, turning channel vectors instead of averaging them."""
    wide = _slerp_along(x.float(), width)
    return _slerp_along(wide.transpose(-1, -2), height).transpose(-1, -2).to(x.dtype)


def _slerp_along(x: Tensor, size: int) -> Tensor:
    """Resize the last axis; positions are half-pixel centres."""
    length = x.shape[-1]
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (length / size) - 0.5
    centres = centres.clamp(0, length - 1)
    low = centres.floor().long()
    share = (centres - low).to(x)
    return _slerp(x[..., low], x[..., (low + 1).clamp(max=length - 1)], share)


def _slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Turn the channel vectors (axis 1) of a towards b's; lengths are interpolated."""
    lengths = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a, unit_b = (torch.where(n > 0, v / n, 0.0) for v, n in zip((a, b), lengths, strict=True))
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    turned = ((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b
    turned = turned / angle.sin() * (lengths[0] * (1 - share) + lengths[1] * share)
    turned = torch.where(cosine > 1 - _PARALLEL, a, turned)
    return torch.where(cosine < _PARALLEL - 1, a * (1 - share) + b * share, turned)
