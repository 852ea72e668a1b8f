"""CPDS, Fooocus' depth-like picture: a grey version that keeps colour contrast, and how far colours are from grey.

Lu, Xu & Jia 2012, "Contrast preserving decolorization" (ICCP; the fast solver: "Real-time contrast preserving
decolorization", SIGGRAPH Asia 2012 briefs): the grey picture is a polynomial of the colours whose differences between
neighbours are ±the colour difference, whichever sign fits. Constants are those of OpenCV's `decolor`; Fooocus
behaviour §5.5.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.control.canny import Pixels, stretch
from models.control.lab import interpolated_lab, with_lightness

PERCENTILES = (4, 96)

_BLUR_SIGMA = 0.8
_BLUR_RADIUS = 3
_FIXED_POINT = 256  # the blur's weights are 8-bit fractions
_ORDER = 2
_POWERS = [p for p in product(range(_ORDER + 1), repeat=3) if 0 < sum(p) <= _ORDER]  # of R, G, B
_START = 0.33  # per linear term
_SIGMA = 0.02
_SAME_SIGN_FROM = 0.05  # of a channel's difference, to count as a rise
_TOLERANCE, _ROUNDS = 1e-4, 15
_MOST_SIDES = 800  # height + width that the weights are fitted on

Terms = NDArray[np.float64]


def contrast_preserving(pixels: Pixels) -> Pixels:
    """Turn a picture (H, W, 3), RGB, into its CPDS picture (H, W)."""
    soft = blur(pixels)
    # OpenCV takes channels as B, G, R, and Fooocus gives it R, G, B: red and blue are exchanged from here on.
    exchanged = soft[..., ::-1]
    density = decolorized(exchanged)
    boosted = with_lightness(exchanged, density)
    offset = np.sqrt(((exchanged.astype(np.float32) - boosted.astype(np.float32)) ** 2).sum(axis=2))
    return stretch(density + offset, *PERCENTILES)


def blur(pixels: Pixels) -> Pixels:
    """Smooth (H, W, C) with a Gaussian of 0.8 pixels; mirrored at the border, edge pixel not repeated."""
    distances = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1)
    weights = np.exp(-(distances**2) / (2 * _BLUR_SIGMA**2))
    fixed = _with_diffused_error(weights / weights.sum() * _FIXED_POINT)
    wide = ndimage.correlate1d(pixels.astype(np.int64), fixed, 1, mode="mirror")
    both = ndimage.correlate1d(wide, fixed, 0, mode="mirror")
    return ((both + _FIXED_POINT**2 // 2) // _FIXED_POINT**2).clip(0, 255).astype(np.uint8)


def _with_diffused_error(weights: NDArray) -> list[int]:
    """Round symmetric weights to integers; what rounding loses goes to the next one, and the middle makes the sum."""
    half, error = [], 0.0
    for weight in weights[: len(weights) // 2]:
        half.append(round(weight + error))
        error += weight - half[-1]
    return [*half, _FIXED_POINT - 2 * sum(half), *half[::-1]]


def decolorized(pixels: Pixels) -> Pixels:
    """Turn (H, W, 3), RGB, into grey (H, W) such that neighbours of different colours stay different."""
    colours = pixels / np.float32(255)
    terms = _terms(colours)
    grey = np.tensordot(_fit(_shrunk(colours)), terms, axes=1)
    span = grey.max() - grey.min()
    if span == 0:
        return np.zeros(grey.shape, dtype=np.uint8)
    return np.rint((grey - grey.min()) / span * 255).astype(np.uint8)


def _fit(colours: NDArray) -> NDArray:
    """Find the polynomial's weights by fixed-point iteration: guess each difference's sign, solve, repeat."""
    gradients = np.stack([_differences(term) for term in _terms(colours)])  # (terms, pairs of neighbours)
    contrast = np.sqrt(sum(_differences(c) ** 2 for c in np.moveaxis(interpolated_lab(colours), -1, 0))) / 100
    rises = [_differences(c) for c in np.moveaxis(colours, -1, 0)]
    order = np.all([r > _SAME_SIGN_FROM for r in rises], axis=0).astype(float)
    order -= np.all([r < -_SAME_SIGN_FROM for r in rises], axis=0)
    solver = np.linalg.pinv(gradients @ gradients.T) @ (gradients * contrast)
    weights = np.array([_START if sum(power) == 1 else 0.0 for power in _POWERS])
    energy, before = 0.0, np.inf
    for _ in range(_ROUNDS + 1):
        if abs(energy - before) <= _TOLERANCE:
            break
        away, towards = (weights @ gradients - contrast) ** 2, (weights @ gradients + contrast) ** 2
        rising = (1 + order) / 2 * np.exp(-0.5 * away / _SIGMA**2)
        falling = (1 - order) / 2 * np.exp(-0.5 * towards / _SIGMA**2)
        likely = rising + falling
        weights = solver @ ((rising - falling) / np.where(likely == 0, 1.0, likely))
        before, energy = energy, _energy(weights @ gradients, contrast)
    return weights


def _energy(differences: NDArray, contrast: NDArray) -> float:
    away, towards = (differences - contrast) ** 2 / _SIGMA, (differences + contrast) ** 2 / _SIGMA
    return float(np.mean(-np.logaddexp(-away, -towards)))


def _terms(colours: NDArray) -> Terms:
    """Return every monomial of the colours, (9, H, W)."""
    red, green, blue = np.moveaxis(colours.astype(np.float64), -1, 0)
    return np.stack([red**r * green**g * blue**b for r, g, b in _POWERS])


def _differences(plane: NDArray) -> NDArray:
    """Return each value less its right neighbour, then less its lower one; 0 at the far border."""
    right, down = np.zeros_like(plane), np.zeros_like(plane)
    right[:, :-1] = plane[:, :-1] - plane[:, 1:]
    down[:-1] = plane[:-1] - plane[1:]
    return np.concatenate((right.ravel(), down.ravel()))


def _shrunk(colours: NDArray) -> NDArray:
    """Return a picture small enough to fit on, by bilinear sampling."""
    height, width = colours.shape[:2]
    factor = _MOST_SIDES / (height + width)
    if factor >= 1:
        return colours
    rows, columns = (_positions(side, round(side * factor)) for side in (height, width))
    grid = np.meshgrid(rows, columns, indexing="ij")
    return np.stack(
        [ndimage.map_coordinates(c, grid, order=1, mode="nearest") for c in np.moveaxis(colours, -1, 0)], -1
    )


def _positions(length: int, size: int) -> NDArray:
    """The old coordinates of the new pixels' centres."""
    return (np.arange(size) + 0.5) * (length / size) - 0.5
