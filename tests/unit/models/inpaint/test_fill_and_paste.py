"""Filling and pasting against recorded values and an independent blend (Fooocus behaviour §5.4.4, §5.4.7, §11.5)."""

import numpy as np
import pytest
import torch

from models.files.image import to_uint8
from models.inpaint.area import Area, interested_area
from models.inpaint.fill import filled
from models.inpaint.paste import pasted
from models.inpaint.working import fitted, greyed, is_small
from tests.unit.models.inpaint.test_masks import box


def recorded_image(height, width):
    """The specification's I(h, w)."""
    y, x = np.mgrid[:height, :width]
    rgb = np.stack([3 * x + y, x + 5 * y, x * y // 7], axis=-1) % 256
    return torch.from_numpy(rgb.astype(np.uint8)).float()[None] / 255


def test_the_fill_is_the_recorded_one():
    image = recorded_image(64, 96)
    out = to_uint8(filled(image, box(64, 96, (20, 39), (30, 59))))[0]
    assert out[30, 45].tolist() == [164, 169, 116]
    assert out.reshape(-1, 3).mean(0).tolist() == pytest.approx([118.3607, 115.3395, 96.0207], abs=1e-3)
    outside = np.ones((64, 96), bool)
    outside[20:40, 30:60] = False
    assert np.array_equal(out[outside], to_uint8(image)[0][outside])


def test_the_working_size_is_the_recorded_one():
    """Area 247 x 249, upscaled four times: 988 x 996 has the native class already."""
    mask = box(300, 400, (100, 159), (150, 259))
    area = interested_area(mask, 0.618)
    assert is_small(area.of(recorded_image(300, 400)), 1024)
    image, small = fitted(torch.rand(1, 4 * 247, 4 * 249, 3), area.of(mask), 1024)
    assert image.shape[1:3] == small.shape[1:] == (988, 996)
    assert set(small.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("base", [128, 1024])
def test_an_area_is_brought_to_the_native_size(base):
    image, mask = fitted(torch.rand(1, base // 4, base // 4, 3), torch.ones(1, base // 4, base // 4), base)
    assert image.shape == (1, base, base, 3)
    assert torch.equal(mask, torch.ones(1, base, base))


def test_only_the_recorded_rectangle_changes():
    """§11.5: mask rows 100-159, columns 150-259 of I(300, 400): rows 69-190, columns 119-290 change."""
    original = recorded_image(300, 400)
    mask = box(300, 400, (100, 159), (150, 259))
    area = interested_area(mask, 0.618)
    out = pasted(original, 1 - area.of(original), mask, area)
    changed = (to_uint8(out) != to_uint8(original)).any(-1)[0]
    rows, columns = np.where(changed.any(1))[0], np.where(changed.any(0))[0]
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (69, 190, 119, 290)


def test_inside_the_mask_stands_what_was_generated_and_between_a_blend():
    original, mask, area = torch.zeros(1, 100, 100, 3), box(100, 100, (40, 59), (40, 59)), Area(20, 80, 10, 90)
    generated = torch.full((2, 60, 80, 3), 200 / 255)
    out = to_uint8(pasted(original, generated, mask, area))
    assert out.shape == (2, 100, 100, 3)
    assert out[1, 50, 50].tolist() == [200, 200, 200]
    assert out[0, 50, 63].tolist() == [int(200 * (256 - 8 * 4) / 255)] * 3
    assert not out[:, :20].any()  # outside of the area, though within the soft mask


def test_the_hidden_part_is_middle_grey():
    image = torch.rand(1, 8, 8, 3)
    out = greyed(image, box(8, 8, (2, 3), (2, 3)))
    assert torch.equal(out[0, 2:4, 2:4], torch.full((2, 2, 3), 0.5))
    assert torch.equal(out[0, 4:], image[0, 4:])
