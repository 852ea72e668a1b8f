"""Whole runs of a stand-in UNet against figures recorded from the original (fooocus-behaviour §11.5)."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.sampling.run import sample
from models.sdxl import AdaptiveGuidance, SizeScale
from tests.unit.models.sampling.stand_in import StandInUNet, conditioning, empty_latent, normal, stand_in_model


def run(
    sampler: str, scheduler: str, steps: int, cfg: float, seed: int, *, adaptive: float = 7.0, sharpness: float = 2.0,
    latent: dict[str, Any] | None = None,
) -> tuple[Tensor, StandInUNet]:  # fmt: skip
    model, network = stand_in_model(size_scale=SizeScale(1.5, 0.8, 0.3), guidance=AdaptiveGuidance(adaptive, sharpness))
    out = sample(
        model, conditioning(seed + 100), conditioning(seed + 200), latent or empty_latent(), seed=seed, steps=steps,
        cfg=cfg, sampler_name=sampler, scheduler=scheduler, policy="fooocus",
    )  # fmt: skip
    return out["samples"], network


RUNS = [
    (("dpmpp_2m_sde_gpu", "karras", 8, 4.0, 123), {}, [-2.7856, -2.6998, -5.9299, 2.9611], -0.30182, 4.3561),
    (
        ("dpmpp_2m_sde_gpu", "karras", 6, 9.0, 123), {"sharpness": 30.0, "adaptive": 5.0},
        [-5.8978, 3.8545, -9.7644, 5.129], -0.26445, 5.98205,
    ),
    (("euler", "sgm_uniform", 4, 1.0, 9), {}, [3.1697, -4.1067, -4.3006, 4.9896], -0.58967, 5.24207),
    (("lcm", "lcm", 8, 1.0, 11), {}, [3.1456, -2.297, 1.9706, -0.1571], -0.09033, 2.90162),
    (("dpmpp_sde_gpu", "karras", 4, 1.0, 33), {}, [-3.7943, -3.3775, -1.7355, -2.1653], -0.36865, 3.77787),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "options", "pixel", "mean", "deviation"), RUNS)
def test_run_gives_the_recorded_figures(
    arguments: Any, options: dict[str, Any], pixel: list[float], mean: float, deviation: float
) -> None:
    samples, _ = run(*arguments, **options)
    np.testing.assert_allclose(samples[0, :, 5, 7], pixel, atol=1.5e-4)
    assert float(samples.mean()) == pytest.approx(mean, abs=1.5e-5)
    assert float(samples.std()) == pytest.approx(deviation, abs=6e-5)


def test_network_is_told_the_recorded_timesteps() -> None:
    _, network = run("dpmpp_2m_sde_gpu", "karras", 8, 4.0, 123)
    assert network.timesteps == [999, 890, 746, 549, 299, 90, 12, 0]


def test_masked_run_gives_the_recorded_figures() -> None:
    mask = torch.zeros(1, 12, 16)
    mask[:, 3:9, 4:12] = 1
    latent = {"samples": 5 * normal(70, (1, 4, 12, 16)), "noise_mask": mask}
    samples, _ = run("dpmpp_2m_sde_gpu", "karras", 6, 4.0, 80, latent=latent)
    np.testing.assert_allclose(samples.flatten()[:4], [4.135268, -4.208747, 3.520648, -1.01985], rtol=1e-5)
    assert float(samples.mean()) == pytest.approx(0.54576, abs=1.5e-5)
    assert float(samples.std()) == pytest.approx(4.98786, abs=3e-5)
