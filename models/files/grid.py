"""Several pictures as one: in rows, on black."""

from math import ceil, isqrt

import torch
from torch import Tensor


def grid(images: Tensor) -> Tensor:
    """Lay pictures (B, H, W, 3) out row by row: (1, rows · H, columns · W, 3), as many columns as ⌈√B⌉."""
    count, height, width, channels = images.shape
    columns = isqrt(count - 1) + 1
    rows = ceil(count / columns)
    sheet = torch.zeros(rows * columns, height, width, channels, dtype=images.dtype)
    sheet[:count] = images
    return (
        sheet.reshape(rows, columns, height, width, channels)
        .transpose(1, 2)
        .reshape(1, rows * height, columns * width, channels)
    )
