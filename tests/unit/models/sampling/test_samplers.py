"""What every sampler keeps to: evaluation counts, callbacks, and its name."""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.sampling import catalogue
from models.sampling.noise import no_noise
from models.sampling.protocol import ignore_progress
from models.sampling.samplers import (
    COMFY_SAMPLERS,
    FOOOCUS_SAMPLERS,
    REFUSED,
    SAMPLERS,
    UnknownSampler,
    find_sampler,
)
from models.sampling.sigma_curves import karras
from tests.unit.models.sampling.analytic import AnalyticDenoiser, replayed_noise, start

ONE_PER_STEP = [
    "euler", "euler_ancestral", "lms", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "tcd", "ddim",
    "uni_pc", "uni_pc_bh2", "dpm_fast", "ipndm", "res_multistep", "gradient_estimation", "er_sde", "euler_cfg_pp",
    "euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde_heun",
]  # fmt: skip
TWO_PER_STEP = ["heun", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2s_ancestral_cfg_pp"]


def run(name: str, steps: int) -> tuple[AnalyticDenoiser, list[tuple[int, int, int]]]:
    """Run a sampler; returns its denoiser and, per callback, (step, total, evaluations so far)."""
    denoiser, calls = AnalyticDenoiser(), []

    def callback(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
        calls.append((step, total, denoiser.evaluations))

    sigmas = karras(steps, 0.03, 14.6)
    result = SAMPLERS[name](denoiser, start(sigmas[0]), sigmas, noise=replayed_noise, callback=callback)
    assert result.isfinite().all()
    return denoiser, calls


@pytest.mark.parametrize("steps", [1, 2, 7, 8])
@pytest.mark.parametrize("name", ONE_PER_STEP)
def test_one_evaluation_per_step(name: str, steps: int) -> None:
    assert run(name, steps)[0].evaluations == steps


@pytest.mark.parametrize("steps", [1, 2, 8])
@pytest.mark.parametrize("name", TWO_PER_STEP)
def test_two_evaluations_for_all_steps_but_the_last(name: str, steps: int) -> None:
    assert run(name, steps)[0].evaluations == 2 * steps - 1


def test_heunpp2_evaluates_three_times_and_less_in_its_last_two_steps() -> None:
    assert run("heunpp2", 8)[0].evaluations == 3 * 8 - 3


@pytest.mark.parametrize(("steps", "evaluations"), [(8, 15), (20, 39), (40, 79)])
def test_restart_takes_as_many_steps_as_asked(steps: int, evaluations: int) -> None:
    denoiser, calls = run("restart", steps)
    assert denoiser.evaluations == evaluations
    assert len(calls) == steps


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"dpm_fast", "dpm_adaptive"}))
def test_callback_comes_once_per_step_after_its_first_evaluation(name: str) -> None:
    _denoiser, calls = run(name, 6)
    assert [(step, total) for step, total, _ in calls] == [(i, 6) for i in range(6)]
    assert calls[0][2] == 1
    gaps = [later[2] - earlier[2] for earlier, later in itertools.pairwise(calls)]
    assert all(1 <= gap <= 3 for gap in gaps)


@pytest.mark.parametrize("steps", [4, 6, 8])
def test_dpm_fast_calls_back_once_per_solver_step(steps: int) -> None:
    _, calls = run("dpm_fast", steps)
    assert [step for step, _, _ in calls] == list(range(steps // 3 + 1))


def test_dpm_adaptive_reports_how_far_it_is() -> None:
    _, calls = run("dpm_adaptive", 10)
    steps = [step for step, _, _ in calls]
    assert steps == sorted(steps)
    assert 0 <= steps[0] <= steps[-1] < 10


@pytest.mark.parametrize("name", sorted(name for name, sampler in SAMPLERS.items() if sampler.noise == "none"))
def test_sampler_without_noise_never_asks_for_any(name: str) -> None:
    sigmas = karras(8, 0.03, 14.6)
    SAMPLERS[name](AnalyticDenoiser(), start(sigmas[0]), sigmas, noise=no_noise, callback=ignore_progress)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_latent_keeps_its_dtype(name: str) -> None:
    sigmas = karras(5, 0.03, 14.6)

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return replayed_noise(sigma, sigma_next).float()

    out = SAMPLERS[name](AnalyticDenoiser(), start(sigmas[0]).float(), sigmas, noise=noise, callback=ignore_progress)
    assert out.dtype == torch.float32
    assert out.isfinite().all()


FAITHFUL = sorted(name for name in set(SAMPLERS) - {"lcm", "tcd"} if not name.endswith("cfg_pp"))  # the rest guide away


@pytest.mark.parametrize("name", FAITHFUL)
def test_samples_come_from_the_data(name: str) -> None:
    """Ten thousand independent numbers end near −1 or 1, as often the one as the other."""
    sigmas = karras(24, 0.03, 14.6)
    source = torch.Generator().manual_seed(5)
    shape = (1, 4, 50, 50)
    x = torch.randn(shape, generator=source, dtype=torch.float64) * (1 + sigmas[0] ** 2) ** 0.5

    def noise(sigma: float, sigma_next: float) -> Tensor:
        return torch.randn(shape, generator=source, dtype=torch.float64)

    out = SAMPLERS[name](AnalyticDenoiser(), x, sigmas, noise=noise, callback=ignore_progress)
    assert float(out.mean()) == pytest.approx(0, abs=0.06)
    assert float(out.abs().mean()) == pytest.approx(1, abs=0.06)
    assert float(out.abs().std()) == pytest.approx(0.3, abs=0.08)


def test_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[4] / "docs/reference/samplers.md"
    written = page.read_text(encoding="utf-8")
    assert written == catalogue.markdown(), "run: python -m models.sampling.catalogue docs/reference/samplers.md"


def test_all_of_fooocus_samplers_are_here() -> None:
    assert set(FOOOCUS_SAMPLERS) <= set(SAMPLERS)


def test_every_sampler_of_comfyui_is_here_or_refused() -> None:
    assert set(COMFY_SAMPLERS) <= set(SAMPLERS) | set(REFUSED)
    assert not set(SAMPLERS) & set(REFUSED)
    assert set(REFUSED.values()) <= set(SAMPLERS)


def test_refused_sampler_says_what_to_take_instead() -> None:
    with pytest.raises(UnknownSampler, match=r"seeds_2 is not available in Focal. Choose dpmpp_sde instead"):
        find_sampler("seeds_2")


def test_unknown_sampler_lists_the_known_ones() -> None:
    with pytest.raises(UnknownSampler, match=r"no sampler 'eular'.*euler_ancestral"):
        find_sampler("eular")
