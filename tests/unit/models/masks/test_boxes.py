import numpy as np
import torch

from models.masks.boxes import Boxes
from models.masks.grounding_dino import captioned, cornered, fitted
from models.masks.sam import without_holes


def boxes(*corners):
    return Boxes(torch.tensor(corners, dtype=torch.float32), torch.ones(len(corners)), tuple("abc"[: len(corners)]))


def test_boxes_grow_within_the_picture_and_vanish_when_nothing_is_left():
    grown = boxes((2, 3, 10, 12), (40, 5, 60, 30)).grown(5, height=32, width=64)
    assert grown.corners.tolist() == [[0, 0, 15, 17], [35, 0, 64, 32]]
    shrunk = boxes((2, 3, 10, 12), (40, 5, 60, 30)).grown(-5, height=32, width=64)
    assert shrunk.corners.tolist() == [[45, 10, 55, 25]]
    assert shrunk.phrases == ("b",)


def test_filled_boxes_are_a_mask():
    mask = boxes((1, 1, 3, 2), (2, 0, 9, 9)).filled(3, 5)
    assert mask[0].tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]


def test_holes_of_fewer_than_400_pixels_are_filled():
    mask = np.ones((80, 80), bool)
    mask[10:30, 10:29] = False  # 380 pixels
    mask[40:60, 40:60] = False  # 400
    filled = without_holes(mask)
    assert filled[10:30, 10:29].all()
    assert not filled[40:60, 40:60].any()
    assert np.array_equal(without_holes(filled), filled)


def test_a_caption_is_small_letters_with_a_full_stop():
    assert captioned("  A Red Face ") == "a red face."
    assert captioned("cat. dog.") == "cat. dog."


def test_pictures_are_scaled_to_a_shorter_side_of_800_and_no_longer_than_1333():
    def size(height, width):
        return tuple(fitted(np.zeros((height, width, 3), np.uint8)).shape[2:])

    assert size(100, 100) == (800, 800)
    assert size(100, 150) == (800, 1200)
    assert size(150, 100) == (1200, 800)
    assert size(100, 400) == (333, 1332)


def test_boxes_are_told_by_their_corners():
    corners = cornered(torch.tensor([[0.5, 0.4, 0.2, 0.6]]))
    assert torch.allclose(corners, torch.tensor([[0.4, 0.1, 0.6, 0.7]]))
