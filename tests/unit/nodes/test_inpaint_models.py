"""ComfyUI's own nodes for inpainting and outpainting."""

import pytest
import torch

from models.memory import Residency
from models.sdxl import load_checkpoint
from nodes.inpaint_models import condition_inpaint_model, pad_image_for_outpaint
from tests.unit.nodes.conftest import CHECKPOINT


def test_an_outpaint_canvas_is_grey_and_keeps_the_picture() -> None:
    picture = torch.rand(2, 6, 5, 3)
    canvas, mask = pad_image_for_outpaint(picture, 8, 0, 16, 24, 0)
    assert canvas.shape == (2, 30, 29, 3)
    assert mask.shape == (1, 30, 29)
    assert torch.equal(canvas[:, :6, 8:13], picture)
    inside = torch.zeros(30, 29, dtype=torch.bool)
    inside[:6, 8:13] = True
    assert torch.all(canvas[:, ~inside] == 0.5)
    assert torch.equal(mask[0] == 0, inside)
    assert torch.equal(mask[0] == 1, ~inside)


def test_the_mask_fades_into_the_picture_from_extended_sides_only() -> None:
    """((feather - d) / feather)²: d counts from 0 at the left, and down to 1 at the right."""
    _, mask = pad_image_for_outpaint(torch.zeros(1, 20, 20, 3), 8, 0, 0, 0, 4)
    assert mask[0, 10, 8:14].tolist() == [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    _, mask = pad_image_for_outpaint(torch.zeros(1, 20, 20, 3), 0, 0, 8, 0, 4)
    assert mask[0, 10, 15:20].tolist() == [0.0, 0.0, 0.0625, 0.25, 0.5625]
    _, mask = pad_image_for_outpaint(torch.zeros(1, 20, 20, 3), 0, 8, 0, 8, 4)
    assert mask[0, :, 0].tolist()[8:10] == [1.0, 0.5625]
    assert mask[0, 18].max() < 0.1


def test_feathering_wider_than_the_picture_is_left_out() -> None:
    _, mask = pad_image_for_outpaint(torch.zeros(1, 20, 20, 3), 8, 0, 0, 0, 10)
    assert mask[0, :, 8:].max() == 0


@pytest.mark.parametrize("noise_mask", [True, False])
def test_an_inpainting_model_is_told_the_mask_and_its_surroundings(models_dir, noise_mask: bool) -> None:
    vae = load_checkpoint(models_dir / "checkpoints" / CHECKPOINT, Residency())[2]
    words = [[torch.zeros(1, 77, 8), {"pooled_output": torch.zeros(1, 8)}]]
    picture = torch.rand(1, 70, 64, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.zeros(1, 70, 64)
    mask[:, :40, 10:30] = 1
    positive, negative, latent = condition_inpaint_model(words, words, vae, picture, mask, noise_mask)
    kept, hole = picture[:, 3:67], mask[:, 3:67]
    grey = kept.clone()
    grey[hole > 0.5] = 0.5
    torch.testing.assert_close(latent["samples"], vae.encode(kept))
    assert ("noise_mask" in latent) is noise_mask
    for entry in (positive[0][1], negative[0][1]):
        torch.testing.assert_close(entry["concat_latent_image"], vae.encode(grey), rtol=0, atol=1e-3)
        assert torch.equal(entry["concat_mask"][0, 0], hole[0])
    assert "concat_mask" not in words[0][1]
