"""The autoencoder against diffusers' on the same random tensors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.memory import Residency
from models.sdxl import Vae, load_checkpoint, load_vae
from tests.parity.diffusers_sdxl import diffusers_vae
from tests.parity.random_sdxl import TINY, random_state, vae_shapes, write_checkpoint

TOLERANCE = 1e-4


def load(tmp_path: Path, groups: int = 32) -> tuple[Vae, dict[str, Tensor]]:
    state = write_checkpoint(tmp_path / "a.safetensors", vae_norm_groups=groups)
    return load_checkpoint(tmp_path / "a.safetensors", Residency())[2], state


def picture(height: int = 64, width: int = 48) -> Tensor:
    return torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("groups", [32, 8])
def test_decode_equals_diffusers(tmp_path: Path, groups: int) -> None:
    vae, state = load(tmp_path, groups)
    latents = torch.randn(2, 4, 16, 12, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = diffusers_vae(state, vae.module.sizes).decode(latents).sample
        with vae.module.use() as module:
            torch.testing.assert_close(module.decode(latents), expected, rtol=0, atol=TOLERANCE)
    image = vae.decode(latents)
    assert image.shape == (2, 64, 48, 3)
    torch.testing.assert_close(image, (expected / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), rtol=0, atol=TOLERANCE)


def test_encode_equals_diffusers_mean_and_sample(tmp_path: Path) -> None:
    vae, state = load(tmp_path)
    pixels = picture()
    noise = torch.randn(2, 4, 16, 12, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        moments = diffusers_vae(state, vae.module.sizes).encode(pixels.permute(0, 3, 1, 2) * 2 - 1).latent_dist
    torch.testing.assert_close(vae.encode(pixels), moments.mean, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(vae.encode(pixels, noise), moments.mean + moments.std * noise, rtol=0, atol=TOLERANCE)


def test_vae_from_its_own_file_equals_the_baked_in_one(tmp_path: Path) -> None:
    vae, state = load(tmp_path)
    prefix = "first_stage_model."
    bare = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    save_file(bare, tmp_path / "vae.safetensors")
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(load_vae(tmp_path / "vae.safetensors", Residency()).decode(latents), vae.decode(latents))


@pytest.mark.parametrize("old_attention", [False, True])
def test_vae_file_with_diffusers_names_is_read(tmp_path: Path, old_attention: bool) -> None:
    vae, state = load(tmp_path)
    theirs = diffusers_vae(state, vae.module.sizes).state_dict()
    if old_attention:
        names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, old in names.items():
            theirs = {name.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): t for name, t in theirs.items()}
    save_file(theirs, tmp_path / "diffusion_pytorch_model.safetensors")
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    read = load_vae(tmp_path / "diffusion_pytorch_model.safetensors", Residency())
    assert torch.equal(read.decode(latents), vae.decode(latents))


def test_full_size_vae_has_the_published_names() -> None:
    from models.formats.sizes import vae_sizes
    from models.vae import AutoencoderKL

    wanted = vae_shapes((128, 256, 512, 512))
    with torch.device("meta"):
        vae = AutoencoderKL(vae_sizes(wanted, 32))
    assert len(wanted) == 248
    assert {name: tuple(p.shape[:2]) for name, p in vae.named_parameters()} == {n: s[:2] for n, s in wanted.items()}


def test_random_state_is_the_same_for_the_same_seed() -> None:
    first, second = (random_state(vae_shapes(TINY.vae), seed=3) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
