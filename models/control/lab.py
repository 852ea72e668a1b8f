"""sRGB and CIE L*a*b* (D65): the formula, and OpenCV's two approximations of it, on which CPDS' figures depend.

Floats: between the formula's values at 33 levels of each colour, on a 512th of the way. 8 bits, L·255/100, a + 128,
b + 128: whole numbers throughout, linear colours of 11 bits on the way there and of 12 bits on the way back.
"""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.709 primaries and D65, as OpenCV rounds them.
_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], dtype=np.float64
)
_WHITE = np.array([0.950456, 1.0, 1.088754])
_CUBE_FROM = 0.008856  # below it the cube root is a line
_LINE = 7.787
_LINE_START = 16 / 116

_LEVELS = 32  # of a colour between black and full, in the grid
_PARTS = 16  # of the way from one level to the next
_FINE = 1 << 14  # what 1 is in the grid, and on the way back from 8 bits
_MATRIX = 1 << 12  # what 1 is in matrices
_ROOT = 1 << 15  # what 1 is of a cube root on the way to 8 bits
_LINEAR_TO, _LINEAR_BACK = 255 * 8, 1 << 12  # what full is of linear colours

_A_STEP = 268435  # 2**13 · 2**14 / 500, less a fraction that can be seen
_L_SCALE, _L_OFFSET = 296, (16 * 255 * _ROOT + 50) // 100  # 116 · 2.55, 16 · 2.55

Whole = NDArray[np.int64]


def to_lab(rgb: NDArray) -> NDArray[np.float64]:
    """Turn sRGB (..., 3), 0..1, into L, 0..100, a and b."""
    xyz = _linear(rgb) @ _TO_XYZ.T / _WHITE
    f = _root(xyz)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    lightness = np.where(xyz[..., 1] > _CUBE_FROM, 116 * y - 16, 903.3 * xyz[..., 1])
    return np.stack((lightness, 500 * (x - y), 200 * (y - z)), axis=-1)


def interpolated_lab(rgb: NDArray) -> NDArray[np.float64]:
    """Do the same between the points of a grid; up to 0.3 from the formula."""
    place = np.rint(rgb.clip(0, 1) * _FINE).astype(np.int64) * _LEVELS * _PARTS // _FINE
    cell, part = place // _PARTS, place % _PARTS
    total = np.zeros(rgb.shape)
    for corner in product((0, 1), repeat=3):
        weight = np.where(corner, part, _PARTS - part).prod(axis=-1)
        at = np.minimum(cell + corner, _LEVELS)
        total += weight[..., None] * _grid()[at[..., 0], at[..., 1], at[..., 2]]
    rounded = np.floor(total / _PARTS**3 + 0.5)
    return (rounded / _FINE - (0, 0.5, 0.5)) * (100, 256, 256)


def with_lightness(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the lightness code of a picture (H, W, 3) by a grey picture (H, W); its a and b stay."""
    code = lab_code(pixels)
    code[..., 0] = grey
    return from_lab_code(code)


def lab_code(pixels: NDArray[np.uint8]) -> Whole:
    """Turn 8-bit sRGB (..., 3) into 8-bit L*a*b* (..., 3)."""
    levels = np.arange(256) / 255
    linear = _whole(_linear(levels) * _LINEAR_TO)
    roots = _whole(_root(np.arange(_LINEAR_TO * 3 // 2) / _LINEAR_TO) * _ROOT)
    xyz = _divided(linear[pixels] @ _whole(_TO_XYZ / _WHITE[:, None] * _MATRIX).T, _MATRIX)
    x, y, z = np.moveaxis(roots[xyz], -1, 0)
    lightness = _L_SCALE * y - _L_OFFSET
    planes = lightness, 500 * (x - y) + 128 * _ROOT, 200 * (y - z) + 128 * _ROOT
    return np.stack([_divided(plane, _ROOT).clip(0, 255) for plane in planes], axis=-1)


def from_lab_code(code: Whole) -> NDArray[np.uint8]:
    """Turn 8-bit L*a*b* (..., 3) into 8-bit sRGB (..., 3)."""
    lightness = np.arange(256) / 2.55
    dark = lightness <= 903.3 * _CUBE_FROM
    light = np.where(dark, lightness / 903.3, ((lightness + 16) / 116) ** 3)
    y = _whole(np.where(dark, _LINE * light + _LINE_START, (lightness + 16) / 116) * _FINE)[code[..., 0]]
    x = y + (code[..., 1] * _A_STEP + 128) // (1 << 13) - 128 * _FINE // 500
    z = y - code[..., 2] * _FINE // 200 + 128 * _FINE // 200 - 1
    xyz = np.stack((_cubed(x), _whole(light * _FINE)[code[..., 0]], _cubed(z)), axis=-1)
    to_rgb = _whole(np.linalg.inv(_TO_XYZ) * _WHITE * _MATRIX)
    linear = _divided(xyz @ to_rgb.T, _MATRIX * _FINE // _LINEAR_BACK).clip(0, _LINEAR_BACK - 1) / _LINEAR_BACK
    bright = 1.055 * linear ** (1 / 2.4) - 0.055
    return np.rint(np.where(linear <= 0.0031308, linear * 12.92, bright) * 255).astype(np.uint8)


def _linear(rgb: NDArray) -> NDArray[np.float64]:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)


def _root(share: NDArray) -> NDArray[np.float64]:
    return np.where(share > _CUBE_FROM, np.cbrt(share), _LINE * share + _LINE_START)


def _cubed(root: Whole) -> Whole:
    """Undo `_root`, in 14-bit fractions."""
    line = _whole((root / _FINE - _LINE_START) / _LINE * _FINE)
    return np.where(root <= _FINE * 6 // 29, line, root * root // _FINE * root // _FINE)


@cache
def _grid() -> NDArray[np.float64]:
    """L*a*b* at 33 levels of each colour, as fractions of 100, 256 and 256, in whole 14-bit numbers."""
    levels = np.arange(_LEVELS + 1) / _LEVELS
    colours = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1)
    return np.rint((to_lab(colours) / (100, 256, 256) + (0, 0.5, 0.5)) * _FINE)


def _whole(values: NDArray) -> Whole:
    return np.rint(values).astype(np.int64)


def _divided(values: Whole, by: int) -> Whole:
    """Divide, halves up."""
    return (values + by // 2) // by
