"""Runs with a noise_mask: the kept area stays, and each policy's noise goes where it should."""

import pytest
import torch
from torch import Tensor

from models.sampling.masking import MaskedDenoiser, constant, fresh
from models.sampling.noise import generator, initial_noise
from models.sampling.parameterization import discrete
from models.sampling.run import sample
from models.sampling.schedules import schedule
from tests.unit.models.sampling.analytic import AnalyticDenoiser
from tests.unit.models.sampling.stand_in import conditioning, normal, stand_in_model

SETTINGS = {"seed": 5, "steps": 6, "cfg": 3.0, "scheduler": "karras"}


def masked_run(mask: Tensor, batch: int = 1, sampler: str = "euler", policy: str = "comfy") -> tuple[Tensor, Tensor]:
    model, _ = stand_in_model()
    original = normal(9, (batch, 4, 12, 16))
    latent = {"samples": original, "noise_mask": mask}
    out = sample(model, conditioning(1), conditioning(2), latent, sampler_name=sampler, policy=policy, **SETTINGS)
    return out["samples"], original


@pytest.mark.parametrize("policy", ["fooocus", "comfy"])
@pytest.mark.parametrize("sampler", ["euler", "ddim", "dpmpp_2m_sde", "dpmpp_2s_ancestral_cfg_pp"])
def test_kept_area_comes_back_as_it_was(sampler: str, policy: str) -> None:
    mask = torch.zeros(1, 12, 16)
    mask[:, 3:9, 4:12] = 1
    out, original = masked_run(mask, sampler=sampler, policy=policy)
    torch.testing.assert_close(out[:, :, :3], original[:, :, :3], rtol=1e-4, atol=1e-4)
    assert (out - original)[:, :, 3:9, 4:12].abs().mean() > 0.1


def test_mask_of_pixels_is_brought_to_latent_size() -> None:
    mask = torch.zeros(1, 96, 128)
    mask[:, :, 64:] = 1
    out, original = masked_run(mask)
    torch.testing.assert_close(out[..., :7], original[..., :7], rtol=1e-4, atol=1e-4)
    assert (out - original)[..., 9:].abs().mean() > 0.1


def test_each_sample_of_a_batch_has_its_own_mask() -> None:
    mask = torch.stack([torch.zeros(12, 16), torch.ones(12, 16)])
    out, original = masked_run(mask, batch=3)  # the third takes the first mask again
    torch.testing.assert_close(out[0], original[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out[2], original[2], rtol=1e-4, atol=1e-4)
    assert (out[1] - original[1]).abs().mean() > 0.1


def test_full_mask_changes_nothing() -> None:
    masked, _ = masked_run(torch.ones(1, 12, 16))
    model, _ = stand_in_model()
    plain = sample(
        model, conditioning(1), conditioning(2), {"samples": normal(9, (1, 4, 12, 16))},
        sampler_name="euler", policy="comfy", **SETTINGS,
    )  # fmt: skip
    torch.testing.assert_close(masked, plain["samples"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("sampler", "seed"), [("euler", 5), ("ddim", 6)])
def test_comfyui_noises_the_kept_area_once_and_for_ddim_with_a_second_noise(sampler: str, seed: int) -> None:
    model, network = stand_in_model()
    latent = {"samples": normal(9, (1, 4, 12, 16)), "noise_mask": torch.zeros(1, 12, 16)}
    sigmas = schedule("karras", discrete(), 6)
    sample(model, conditioning(1), conditioning(2), latent, sampler_name=sampler, policy="comfy", **SETTINGS)
    noise = initial_noise((1, 4, 12, 16), generator(seed))
    for seen, sigma in zip(network.inputs, sigmas[:-1], strict=True):
        expected = (latent["samples"] * 0.13025 + noise * sigma) / (sigma**2 + 1) ** 0.5
        torch.testing.assert_close(seen[1:], expected, rtol=1e-5, atol=1e-5)


def test_kept_area_is_noised_to_the_current_sigma() -> None:
    seen: list[Tensor] = []

    class Recording(AnalyticDenoiser):
        def __call__(self, x: Tensor, sigma: float) -> Tensor:
            seen.append(x)
            return super().__call__(x, sigma)

    mask = torch.zeros(1, 1, 2, 3)
    mask[..., 0] = 1
    original, noise = normal(1, (1, 4, 2, 3)), normal(2, (1, 4, 2, 3))
    denoise = MaskedDenoiser(Recording(), mask, original, constant(noise))
    x = normal(3, (1, 4, 2, 3))
    denoised = denoise(x, 3.0)
    torch.testing.assert_close(seen[0][..., 0], x[..., 0])
    torch.testing.assert_close(seen[0][..., 1:], (original + 3 * noise)[..., 1:])
    torch.testing.assert_close(denoised[..., 1:], original[..., 1:])


def test_fooocus_draws_masking_noise_anew_from_seed_plus_one() -> None:
    like = torch.zeros(1, 4, 2, 3)
    draw, source = fresh(like, 80), generator(81)
    assert torch.equal(draw(), torch.randn(like.shape, generator=source))
    assert torch.equal(draw(), torch.randn(like.shape, generator=source))
    wrapped = fresh(like, 2**63 - 2)
    assert torch.equal(wrapped(), torch.randn(like.shape, generator=generator(0)))
