"""Edges and edge pyramids of 8-bit pictures, in the arithmetic of OpenCV, whose edges the models were trained on.

Canny 1986, "A computational approach to edge detection"; Fooocus behaviour §5.5.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Edges = NDArray[np.float64]

SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
FADING = 0.75  # what remains of the coarser edges at each finer scale
PERCENTILES = (1, 99)

_TANGENT_BITS = 15
_TANGENT_22 = 13573  # tan(22.5°) · 2^15
_NEIGHBOURS = np.ones((3, 3))
_SMALLEST_SHARE = 1e-3  # of a source pixel that still counts when areas are averaged


def pyramid_edges(pixels: Pixels, low: int = 64, high: int = 128) -> Pixels:
    """Find the edges of a picture (H, W, 3) at nine scales, per channel. Returns (H, W): the finest are brightest."""
    height, width = pixels.shape[:2]
    total: Edges | None = None
    for scale in SCALES:
        size = (max(int(height * scale), 1), max(int(width * scale), 1))
        smaller = resize_area(pixels, *size)
        edges = np.stack([canny(smaller[..., c], low, high) for c in range(3)], axis=-1).astype(np.float64)
        total = edges if total is None else _enlarge(total, *size) * FADING + edges * (1 - FADING)
    assert total is not None
    return stretch(total.sum(axis=2), *PERCENTILES)


def canny(channel: Pixels, low: int, high: int) -> NDArray[np.bool_]:
    """Find the edges of one channel (H, W). Thresholds are on |dx| + |dy| of the plain 3 × 3 Sobel operator."""
    values = channel.astype(np.int32)
    dx = ndimage.correlate1d(ndimage.correlate1d(values, [-1, 0, 1], 1, mode="nearest"), [1, 2, 1], 0, mode="nearest")
    dy = ndimage.correlate1d(ndimage.correlate1d(values, [-1, 0, 1], 0, mode="nearest"), [1, 2, 1], 1, mode="nearest")
    low, high = min(low, high), max(low, high)
    magnitude = np.abs(dx) + np.abs(dy)
    candidates = (magnitude > low) & _is_ridge(magnitude, dx, dy)
    labels = np.zeros(candidates.shape, dtype=np.intp)
    ndimage.label(candidates, _NEIGHBOURS, output=labels)
    is_edge = np.zeros(int(labels.max(initial=0)) + 1, dtype=bool)
    is_edge[labels[candidates & (magnitude > high)]] = True
    return is_edge[labels]


def _is_ridge(m: NDArray, dx: NDArray, dy: NDArray) -> NDArray[np.bool_]:
    """Whether the magnitude is greatest across the edge; of two equal ones the first counts. Outside of all it is 0."""
    around = np.pad(m, 1)

    def shifted(rows: int, columns: int) -> NDArray:
        return around[1 + rows : 1 + rows + m.shape[0], 1 + columns : 1 + columns + m.shape[1]]

    across, up = np.abs(dx).astype(np.int64), np.abs(dy).astype(np.int64) << _TANGENT_BITS
    flat = across * _TANGENT_22
    steep = flat + (across << (_TANGENT_BITS + 1))  # tan(67.5°) = tan(22.5°) + 2
    level = (m > shifted(0, -1)) & (m >= shifted(0, 1))
    upright = (m > shifted(-1, 0)) & (m >= shifted(1, 0))
    falling = (m > shifted(-1, -1)) & (m > shifted(1, 1))
    rising = (m > shifted(-1, 1)) & (m > shifted(1, -1))
    diagonal = np.where((dx ^ dy) < 0, rising, falling)
    return np.where(up < flat, level, np.where(up > steep, upright, diagonal))


def stretch(values: NDArray, low: float, high: float) -> Pixels:
    """Spread what lies between two percentiles over 0..255, cut to 8 bits; equal percentiles make a threshold."""
    bottom, top = (float(np.percentile(values, percent)) for percent in (low, high))
    if top <= bottom:
        return np.where(values > top, 255, 0).astype(np.uint8)
    return ((values - bottom) / (top - bottom) * 255).clip(0, 255).astype(np.uint8)


def resize_area(pixels: Pixels, height: int, width: int) -> Pixels:
    """Shrink (H, W, C): each new pixel is the mean of the area that it covers."""
    if pixels.shape[:2] == (height, width):
        return pixels
    wide = _averaged(pixels.astype(np.float32).swapaxes(0, 1), width).swapaxes(0, 1)
    means = _averaged(wide, height)
    if pixels.shape[0] == 2 * height and pixels.shape[1] == 2 * width:
        return np.floor(means + 0.5).astype(np.uint8)  # halving adds half and shifts
    return np.rint(means).clip(0, 255).astype(np.uint8)


def _averaged(rows: Floats, size: int) -> Floats:
    """Average (N, …) into (size, …). Term by term in float32 as OpenCV does: rounding to 8 bits depends on it."""
    scale = len(rows) / size
    starts = np.arange(size) * scale
    first = np.floor(starts).astype(np.intp)
    total = np.zeros((size, *rows.shape[1:]), dtype=np.float32)
    for step in range(int(np.ceil(scale)) + 1):
        old = first + step
        overlap = np.minimum(starts + scale, old + 1) - np.maximum(starts, old)
        share = np.where(overlap > _SMALLEST_SHARE, overlap / np.minimum(scale, len(rows) - starts), 0.0)
        total += rows[np.minimum(old, len(rows) - 1)] * share.astype(np.float32)[:, None, None]
    return total


def _enlarge(values: Edges, height: int, width: int) -> Edges:
    """Resize (H, W, C) bilinearly."""
    channels_first = torch.from_numpy(values).permute(2, 0, 1)[None]
    return F.interpolate(channels_first, size=(height, width), mode="bilinear")[0].permute(1, 2, 0).numpy()
