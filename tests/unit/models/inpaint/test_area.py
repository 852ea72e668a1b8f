"""The interested area: the specification's tables (Fooocus behaviour §11.2, §11.5)."""

import pytest
import torch

from models.inpaint.area import Area, EmptyMask, interested_area
from tests.unit.models.inpaint.test_masks import box

CASES = [
    ((1024, 1024), (400, 499), (300, 449), 0, (364, 535, 289, 460)),
    ((1024, 1024), (400, 499), (300, 449), 0.618, (133, 766, 58, 691)),
    ((1024, 1024), (400, 499), (300, 449), 0.3, (295, 604, 220, 529)),
    ((768, 1344), (100, 199), (1000, 1199), 0, (36, 263, 986, 1213)),
    ((768, 1344), (100, 199), (1000, 1199), 0.618, (0, 768, 513, 1344)),
    ((768, 1344), (100, 199), (1000, 1199), 0.3, (0, 403, 897, 1302)),
    ((1000, 600), (900, 999), (0, 99), 0, (893, 1000, 0, 106)),
    ((1000, 600), (900, 999), (0, 99), 0.618, (382, 1000, 0, 600)),
    ((500, 700), (10, 400), (650, 690), 0, (0, 430, 446, 700)),
    ((500, 700), (10, 400), (650, 690), 0.618, (0, 432, 267, 700)),
    ((500, 700), (10, 400), (650, 690), 0.3, (0, 430, 446, 700)),
    ((300, 400), (100, 159), (150, 259), 0.618, (6, 253, 80, 329)),
    ((300, 400), (100, 159), (150, 259), 1, (0, 300, 0, 400)),
]


@pytest.mark.parametrize(("size", "rows", "columns", "field", "expected"), CASES)
def test_the_area_is_the_recorded_one(size, rows, columns, field, expected):
    assert interested_area(box(*size, rows, columns), field) == Area(*expected)


@pytest.mark.parametrize("field", [0, 0.5, 1])
def test_a_mask_that_selects_nothing_is_refused(field):
    with pytest.raises(EmptyMask, match="nothing to repaint"):
        interested_area(torch.zeros(1, 8, 8), field)


def test_a_single_pixel_has_an_area():
    assert interested_area(box(50, 60, (10, 10), (20, 20)), 0) == Area(10, 11, 20, 21)
