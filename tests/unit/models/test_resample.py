"""Fooocus' resizing, by pictures resized with the original behaviour (specification §11.5)."""

import hashlib

import numpy as np
import pytest
import torch

from models.resample import cover, lanczos


def picture(height: int, width: int) -> torch.Tensor:
    """The specification's test picture I(h, w)."""
    y, x = np.mgrid[:height, :width]
    channels = (3 * x + y) % 256, (x + 5 * y) % 256, (x * y // 7) % 256
    return torch.from_numpy(np.stack(channels, axis=-1).astype(np.float32) / 255)[None]


def uint8(image: torch.Tensor) -> np.ndarray:
    return (image[0] * 255).round().byte().numpy()


def sha(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def test_lanczos_is_pillow_s():
    small = uint8(lanczos(picture(90, 120), 50, 40))
    assert small.shape == (40, 50, 3)
    assert small[10, 10].tolist() == [97, 141, 81]
    assert small.mean() == pytest.approx(119.57634, abs=1e-4)
    assert sha(small) == "528db55bdaf077dd"


def test_stretching_and_covering_are_fooocus_modes_0_and_1():
    assert sha(uint8(lanczos(picture(90, 120), 100, 64))) == "d9602bac12852050"
    assert sha(uint8(cover(picture(90, 120), 100, 64))) == "3737537b4ba1b061"
    assert uint8(cover(picture(90, 120), 64, 100)).mean() == pytest.approx(132.7753, abs=1e-3)


def test_eight_bit_values_survive_the_way_through_float():
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3) / 255
    torch.testing.assert_close(lanczos(levels, 16, 16), levels)
