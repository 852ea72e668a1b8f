import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from models.files.preview import METADATA_KEY, fit_preview, preview_factors, write_preview
from models.memory import Residency
from models.sampling.preview import NO_BIAS, SDXL_RGB, latent_to_rgb
from models.sdxl import load_checkpoint
from tests.parity.random_sdxl import Plan, write_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "a.safetensors"
    write_checkpoint(path, Plan(vae=(32, 32, 64, 64)))
    return path


class LinearVae:
    """A VAE whose pixels are known: each cell's colour is a matrix times its latent."""

    scaling = 0.13025
    rows = torch.tensor([[0.3, 0.0, 0.1], [0.0, 0.2, 0.0], [-0.1, 0.0, 0.2], [0.05, 0.05, 0.0]])

    def decode(self, samples):
        colours = torch.einsum("bchw,cr->bhwr", samples * self.scaling, self.rows) + 0.1
        return (colours.repeat_interleave(8, 1).repeat_interleave(8, 2) + 1) / 2


def test_the_fit_finds_the_matrix_of_a_linear_decoder():
    rows = torch.tensor(fit_preview(LinearVae(), samples=16))
    torch.testing.assert_close(rows[:4], LinearVae.rows, atol=1e-4, rtol=0)
    torch.testing.assert_close(rows[4], torch.full((3,), 0.1), atol=1e-4, rtol=0)


def test_a_file_without_a_matrix_is_shown_with_sdxl_s(checkpoint):
    model, _, _ = load_checkpoint(checkpoint, Residency())
    assert preview_factors(model) == (SDXL_RGB, NO_BIAS)


def test_a_written_matrix_is_used_and_the_weights_stay(checkpoint):
    before = load_file(checkpoint)
    rows = write_preview(checkpoint)
    after = load_file(checkpoint)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with safe_open(checkpoint, "pt") as file:
        assert file.metadata()["focal.vae_norm_groups"] == "32"
        assert json.loads(file.metadata()[METADATA_KEY]) == rows
    model, _, _ = load_checkpoint(checkpoint, Residency())
    factors, bias = preview_factors(model)
    torch.testing.assert_close(torch.tensor([*factors, bias]), torch.tensor(rows))
    assert latent_to_rgb(torch.zeros(1, 4, 2, 2), factors, bias).shape == (2, 2, 3)
