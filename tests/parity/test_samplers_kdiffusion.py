"""Samplers against k-diffusion itself, where it is installed (`pip install k-diffusion --no-deps`)."""

import importlib.util
import sys
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from models.sampling.noise import BrownianNoise
from models.sampling.protocol import ignore_progress
from models.sampling.samplers import SAMPLERS
from models.sampling.sigma_curves import exponential, karras, polyexponential, variance_preserving
from tests.unit.models.sampling.analytic import AnalyticDenoiser, replayed_noise, start


@pytest.fixture(scope="module")
def k_sampling() -> Any:
    """Only k_diffusion/sampling.py: the package's own imports need what sampling does not (wandb, kornia …)."""
    found = importlib.util.find_spec("k_diffusion")
    if found is None or not found.submodule_search_locations:
        pytest.skip("k-diffusion is not installed")
    location = f"{found.submodule_search_locations[0]}/sampling.py"
    package, utils, ode = ModuleType("k_diffusion"), ModuleType("k_diffusion.utils"), ModuleType("torchdiffeq")
    package.utils = utils  # type: ignore[attr-defined]
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]  # type: ignore[attr-defined]
    ode.odeint = None  # type: ignore[attr-defined]
    stubs = {"k_diffusion": package, "k_diffusion.utils": utils, "torchdiffeq": ode}
    with pytest.MonkeyPatch.context() as patch:
        for name, stub in stubs.items():
            patch.setitem(sys.modules, name, stub)
        spec = importlib.util.spec_from_file_location("k_diffusion.sampling", location)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def as_k_diffusion(denoiser: AnalyticDenoiser) -> Any:
    """k-diffusion hands over a sigma per sample, as a tensor."""
    return lambda x, sigma, **_: denoiser(x, float(sigma[0]))


def noise_of_tensors(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    return replayed_noise(float(sigma), float(sigma_next))


SIGMAS = karras(10, 0.03, 14.6)
WITHOUT_NOISE = ["euler", "heun", "dpm_2", "lms", "dpmpp_2m"]
WITH_NOISE = [
    "euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde",
]  # fmt: skip


def ours(name: str, sigmas: tuple[float, ...] = SIGMAS, noise: Any = replayed_noise) -> tuple[Tensor, AnalyticDenoiser]:
    denoiser = AnalyticDenoiser()
    return SAMPLERS[name](denoiser, start(sigmas[0]), sigmas, noise=noise, callback=ignore_progress), denoiser


@pytest.mark.parametrize("name", WITHOUT_NOISE + WITH_NOISE)
def test_sampler_equals_k_diffusion(k_sampling: Any, name: str) -> None:
    options: dict[str, Any] = {"noise_sampler": noise_of_tensors} if name in WITH_NOISE else {}
    if name == "dpmpp_2m_sde":
        options["solver_type"] = "midpoint"
    theirs_denoiser = AnalyticDenoiser()
    sigmas = torch.tensor(SIGMAS, dtype=torch.float64)
    theirs = getattr(k_sampling, f"sample_{name}")(
        as_k_diffusion(theirs_denoiser), start(SIGMAS[0]), sigmas, disable=True, **options
    )
    result, denoiser = ours(name)
    torch.testing.assert_close(result, theirs, rtol=1e-7, atol=1e-7)
    assert denoiser.evaluations == theirs_denoiser.evaluations


def test_heun_type_of_dpmpp_2m_sde_equals_k_diffusion(k_sampling: Any) -> None:
    theirs = k_sampling.sample_dpmpp_2m_sde(
        as_k_diffusion(AnalyticDenoiser()), start(SIGMAS[0]), torch.tensor(SIGMAS, dtype=torch.float64),
        disable=True, noise_sampler=noise_of_tensors, solver_type="heun",
    )  # fmt: skip
    torch.testing.assert_close(ours("dpmpp_2m_sde_heun")[0], theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize("name", WITH_NOISE)
def test_less_noise_equals_k_diffusion(k_sampling: Any, name: str, eta: float) -> None:
    options: dict[str, Any] = {"eta": eta, "s_noise": 0.9, "noise_sampler": noise_of_tensors}
    theirs_options = options | ({"solver_type": "midpoint"} if name == "dpmpp_2m_sde" else {})
    theirs = getattr(k_sampling, f"sample_{name}")(
        as_k_diffusion(AnalyticDenoiser()), start(SIGMAS[0]), torch.tensor(SIGMAS, dtype=torch.float64),
        disable=True, **theirs_options,
    )  # fmt: skip
    function: Any = SAMPLERS[name].function
    del options["noise_sampler"]
    result = function(
        AnalyticDenoiser(), start(SIGMAS[0]), SIGMAS, noise=replayed_noise, callback=ignore_progress, **options
    )
    torch.testing.assert_close(result, theirs, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("steps", [4, 5, 6])
def test_dpm_fast_equals_k_diffusion(k_sampling: Any, steps: int) -> None:
    sigmas = karras(steps, 0.03, 14.6)
    denoiser = AnalyticDenoiser()
    theirs = k_sampling.sample_dpm_fast(
        as_k_diffusion(denoiser), start(sigmas[0]), sigmas[-2], sigmas[0], steps, disable=True
    )
    result, own = ours("dpm_fast", sigmas)
    torch.testing.assert_close(result, theirs, rtol=1e-5, atol=1e-5)  # its timesteps are float32
    assert own.evaluations == denoiser.evaluations == steps


def test_dpm_adaptive_equals_k_diffusion(k_sampling: Any) -> None:
    denoiser = AnalyticDenoiser()
    theirs, info = k_sampling.sample_dpm_adaptive(
        as_k_diffusion(denoiser), start(SIGMAS[0]), SIGMAS[-2], SIGMAS[0], disable=True, return_info=True
    )
    result, own = ours("dpm_adaptive")
    torch.testing.assert_close(result, theirs, rtol=1e-4, atol=1e-4)
    assert own.evaluations == denoiser.evaluations
    assert info["nfe"] == own.evaluations


def test_curves_equal_k_diffusion(k_sampling: Any) -> None:
    pairs = [
        (karras(11, 0.03, 14.6), k_sampling.get_sigmas_karras(11, 0.03, 14.6)),
        (karras(11, 0.03, 14.6, 5.0), k_sampling.get_sigmas_karras(11, 0.03, 14.6, 5.0)),
        (exponential(11, 0.03, 14.6), k_sampling.get_sigmas_exponential(11, 0.03, 14.6)),
        (polyexponential(11, 0.03, 14.6, 1.7), k_sampling.get_sigmas_polyexponential(11, 0.03, 14.6, 1.7)),
    ]
    for own, theirs in pairs:
        assert torch.equal(torch.tensor(own), theirs)  # computed in float32 on purpose
    variance = torch.tensor(variance_preserving(11))
    torch.testing.assert_close(variance, k_sampling.get_sigmas_vp(11), rtol=3e-4, atol=1e-6)  # theirs loses digits


@pytest.mark.filterwarnings("ignore:Should have")  # k-diffusion asks a little beyond the ends, which torchsde rounds
def test_brownian_noise_equals_k_diffusion(k_sampling: Any) -> None:
    latent = torch.zeros(1, 4, 8, 6)
    low, high = SIGMAS[-2], SIGMAS[0]
    theirs = k_sampling.BrownianTreeNoiseSampler(latent, torch.tensor(low), torch.tensor(high), seed=42)
    own = BrownianNoise(latent, low, high, 42)
    for sigma, sigma_next in pairwise(SIGMAS[:-1]):
        expected = theirs(torch.tensor(sigma), torch.tensor(sigma_next))
        torch.testing.assert_close(own(sigma, sigma_next), expected, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(own(sigma_next, sigma), -expected, rtol=1e-6, atol=1e-6)
