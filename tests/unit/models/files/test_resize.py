import math

import numpy as np
import pytest
import torch
from PIL import Image

from models.files.resize import centre_crop, resize


def slerp_reference(a: np.ndarray, b: np.ndarray, r: float) -> np.ndarray:
    """Turn one channel vector towards another, from the words of the specification, in float64."""
    length_a, length_b = np.linalg.norm(a), np.linalg.norm(b)
    unit_a = a / length_a if length_a else a * 0
    unit_b = b / length_b if length_b else b * 0
    dot = float(unit_a @ unit_b)
    if dot > 1 - 1e-5:
        return a
    if dot < -1 + 1e-5:
        return a * (1 - r) + b * r
    omega = math.acos(dot)
    turned = math.sin((1 - r) * omega) / math.sin(omega) * unit_a + math.sin(r * omega) / math.sin(omega) * unit_b
    return turned * (length_a * (1 - r) + length_b * r)


def bislerp_reference(x: np.ndarray, width: int, height: int) -> np.ndarray:
    def along_last(values: np.ndarray, size: int) -> np.ndarray:
        out = np.zeros((*values.shape[:-1], size))
        for target in range(size):
            centre = min(max((target + 0.5) * values.shape[-1] / size - 0.5, 0), values.shape[-1] - 1)
            low = math.floor(centre)
            high = min(low + 1, values.shape[-1] - 1)
            for row in range(values.shape[-2]):
                out[:, row, target] = slerp_reference(values[:, row, low], values[:, row, high], centre - low)
        return out

    wide = along_last(x, width)
    return along_last(wide.transpose(0, 2, 1), height).transpose(0, 2, 1)


@pytest.mark.parametrize(("width", "height"), [(9, 7), (3, 2), (5, 4), (10, 8)])
def test_bislerp_follows_its_description(width, height):
    x = torch.randn(2, 4, 4, 5, generator=torch.Generator().manual_seed(0))
    x[0, :, 0, 0] = 0  # a vector without direction
    x[0, :, 1, 2] = -2 * x[0, :, 1, 1]  # opposite vectors
    expected = np.stack([bislerp_reference(picture.double().numpy(), width, height) for picture in x])
    np.testing.assert_allclose(resize(x, width, height, "bislerp").numpy(), expected, atol=1e-5)


def test_lanczos_goes_through_pillow():
    x = torch.rand(1, 3, 20, 30)
    pixels = (x[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    expected = np.asarray(Image.fromarray(pixels).resize((12, 8), Image.Resampling.LANCZOS)) / 255
    np.testing.assert_allclose(resize(x, 12, 8, "lanczos")[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_nearest_repeats_pixels():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert (
        resize(x, 6, 4, "nearest-exact")[0, 0].tolist()
        == x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1).tolist()
    )


@pytest.mark.parametrize(
    ("size", "target", "rows", "columns"),
    [
        ((100, 200), (50, 50), (0, 100), (50, 150)),
        ((200, 100), (50, 50), (50, 150), (0, 100)),
        ((90, 60), (3, 2), (25, 65), (0, 60)),
    ],
)
def test_a_centre_crop_trims_the_longer_axis_on_both_sides(size, target, rows, columns):
    grid = torch.arange(size[0] * size[1]).reshape(1, 1, *size)
    assert torch.equal(centre_crop(grid, *target), grid[..., slice(*rows), slice(*columns)])
