import pytest
import torch

from models.files.grid import grid


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 3), (10, 3, 4)]
)
def test_pictures_stand_row_by_row_on_black(count, rows, columns):
    pictures = torch.rand(count, 4, 6, 3) + 0.1
    sheet = grid(pictures)
    assert sheet.shape == (1, rows * 4, columns * 6, 3)
    for number in range(rows * columns):
        top, left = number // columns * 4, number % columns * 6
        cell = sheet[0, top : top + 4, left : left + 6]
        assert torch.equal(cell, pictures[number] if number < count else torch.zeros(4, 6, 3))
