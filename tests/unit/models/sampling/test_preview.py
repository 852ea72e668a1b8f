"""Previews: the right colours, and never twice the same picture."""

import numpy as np
import torch

from models.sampling.preview import SDXL_RGB, Previewer, latent_to_rgb
from tests.unit.models.sampling.stand_in import normal


def test_empty_latent_is_grey() -> None:
    assert latent_to_rgb(torch.zeros(1, 4, 3, 5)).unique().tolist() == [127]


def test_colours_are_the_matrix_times_the_channels() -> None:
    latent = normal(1, (2, 4, 3, 5))
    expected = np.einsum("chw,ck->hwk", latent[0].double().numpy(), np.array(SDXL_RGB))
    expected = np.clip((expected + 1) * 127.5, 0, 255)
    picture = latent_to_rgb(latent).numpy()
    assert picture.shape == (3, 5, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture - expected).max() <= 1


def test_factors_of_another_latent_space_may_be_given() -> None:
    factors = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0))
    latent = torch.zeros(1, 4, 1, 1)
    latent[0, 2] = 1.0
    assert latent_to_rgb(latent, factors, bias=(-1.0, 0.0, 0.0)).flatten().tolist() == [0, 127, 255]


def test_previewer_gives_each_picture_once_and_the_newest_first() -> None:
    previewer = Previewer()
    assert previewer.take() is None
    previewer.submit(torch.zeros(1, 4, 3, 5))
    previewer.submit(torch.full((1, 4, 3, 5), 0.5))
    newest = previewer.take()
    assert newest is not None
    assert newest.dtype == np.uint8
    assert not (newest == 127).all()
    assert previewer.take() is None
