"""sRGB and CIE L*a*b* (D65), with the 8-bit code that OpenCV uses for it: L·255/100, a + 128, b + 128."""

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


def to_lab(rgb: NDArray) -> NDArray[np.float64]:
    """Turn sRGB (..., 3), 0..1, into L, 0..100, a and b."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > _CUBE_FROM, np.cbrt(xyz), _LINE * xyz + _LINE_START)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    lightness = np.where(xyz[..., 1] > _CUBE_FROM, 116 * y - 16, 903.3 * xyz[..., 1])
    return np.stack((lightness, 500 * (x - y), 200 * (y - z)), axis=-1)


def from_lab(lab: NDArray) -> NDArray[np.float64]:
    """Turn L, a, b into sRGB (..., 3), cut to 0..1."""
    lightness, a, b = lab[..., 0], lab[..., 1], lab[..., 2]
    dark = lightness <= 903.3 * _CUBE_FROM
    y = np.where(dark, lightness / 903.3, ((lightness + 16) / 116) ** 3)
    root = np.where(dark, _LINE * y + _LINE_START, (lightness + 16) / 116)
    x, z = _uncubed(root + a / 500), _uncubed(root - b / 200)
    linear = (np.stack((x, y, z), axis=-1) * _WHITE @ np.linalg.inv(_TO_XYZ).T).clip(0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _uncubed(f: NDArray) -> NDArray:
    return np.where(f <= _LINE * _CUBE_FROM + _LINE_START, (f - _LINE_START) / _LINE, f**3)


def with_lightness(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Replace the lightness code of a picture (H, W, 3) by a grey picture (H, W); its a and b stay."""
    code = np.rint(to_lab(pixels / 255.0) * (2.55, 1, 1) + (0, 128, 128)).clip(0, 255)
    code[..., 0] = grey
    return np.rint(from_lab((code - (0, 128, 128)) / (2.55, 1, 1)) * 255).astype(np.uint8)
