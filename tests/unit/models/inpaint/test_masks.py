"""Masks against values worked out by hand and a slow independent reading of the specification."""

import numpy as np
import pytest
import torch

from models.inpaint.masks import grown, latent_mask, padded, selected, softened


def box(height, width, rows, columns):
    """A mask that selects rows[0]..rows[1] and columns[0]..columns[1], inclusive."""
    mask = torch.zeros(1, height, width)
    mask[:, rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1
    return mask


def test_a_pixel_is_selected_by_its_mean_or_its_red_above_127():
    colours = torch.tensor([[[255, 0, 0], [0, 255, 0], [128, 128, 128], [127, 127, 127], [127, 200, 200]]]) / 255.0
    assert selected(colours[None], 5, 1).tolist() == [[[1, 0, 1, 0, 1]]]


def test_a_mask_of_another_size_is_stretched_to_the_picture():
    painted = torch.zeros(1, 16, 16, 3)
    painted[:, :, 8:] = 1
    mask = selected(painted, 64, 32)
    assert mask.shape == (1, 32, 64)
    assert mask[0, :, :31].sum() == 0
    assert mask[0, :, 33:].min() == 1


def test_growing_adds_a_square_border_and_shrinking_takes_it_away():
    mask = box(20, 30, (8, 10), (5, 9))
    assert torch.equal(grown(mask, 3), box(20, 30, (5, 13), (2, 12)))
    assert torch.equal(grown(mask, -1), box(20, 30, (9, 9), (6, 8)))
    assert grown(mask, -2).sum() == 0
    assert torch.equal(grown(mask, 0), mask)


def test_the_edge_of_the_picture_does_not_eat_into_a_mask():
    assert torch.equal(grown(box(10, 10, (0, 4), (0, 9)), -2), box(10, 10, (0, 2), (0, 9)))


def test_padding_repeats_edges_and_selects_what_is_new():
    image = torch.rand(1, 4, 5, 3)
    out, mask = padded(image, torch.zeros(1, 4, 5), left=2, top=1, right=3, bottom=4)
    expected = np.pad(image.numpy(), ((0, 0), (1, 4), (2, 3), (0, 0)), mode="edge")
    assert np.array_equal(out.numpy(), expected)
    assert mask.shape == (1, 9, 10)
    assert mask.sum() == 90 - 20
    assert mask[0, 1:5, 2:7].sum() == 0


def test_the_soft_mask_falls_by_eight_a_pixel():
    """Fooocus behaviour §11.4."""
    soft = softened(box(120, 140, (40, 59), (30, 49)))[0]
    assert soft[45, 45] == 255
    assert [int(soft[50, 49 + d]) for d in (1, 2, 15, 30, 31, 32)] == [248, 240, 136, 16, 8, 0]
    distance = np.maximum(
        np.maximum(40 - np.arange(120), np.arange(120) - 59)[:, None],
        np.maximum(30 - np.arange(140), np.arange(140) - 49)[None],
    ).clip(0)
    assert np.array_equal(soft, np.where(distance == 0, 255, (256 - 8 * distance).clip(0, 255)))


def test_the_soft_mask_equals_the_recorded_sum():
    """Fooocus behaviour §11.5: I(300, 400), mask rows 100-159, columns 150-259."""
    assert int(softened(box(300, 400, (100, 159), (150, 259))).sum(dtype=np.int64)) == 3365432


def test_a_latent_cell_is_repainted_when_any_of_its_pixels_is():
    mask = box(64, 96, (15, 16), (40, 47))
    cells = latent_mask(mask, 8, 12)
    assert cells.shape == (1, 1, 8, 12)
    assert cells.nonzero()[:, 2:].tolist() == [[1, 5], [2, 5]]


@pytest.mark.parametrize("pixels", [-5, -1, 1, 4, 60])
def test_growing_equals_step_by_step_growing(pixels):
    seeds = torch.rand(2, 40, 50, generator=torch.Generator().manual_seed(3)) > 0.98
    mask = seeds.float() if pixels > 0 else (~seeds).float()
    sign = 1 if pixels > 0 else -1
    expected = mask * sign
    for _ in range(abs(pixels)):
        expected = torch.nn.functional.max_pool2d(expected[:, None], 3, stride=1, padding=1)[:, 0]
    assert torch.equal(grown(mask, pixels), expected * sign)
