"""Parameterization and schedules against the original's recorded figures, and diffusers' schedulers as samplers."""

import hashlib
import struct
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import beta as beta_distribution

from models.sampling import sigma_curves
from models.sampling.parameterization import discrete, edm, parameterization_for, training_table, zero_terminal_snr
from models.sampling.protocol import ignore_progress
from models.sampling.samplers import SAMPLERS
from models.sampling.schedules import denoise_schedule, schedule
from tests.unit.models.sampling.analytic import AnalyticDenoiser, replayed_noise, start
from tests.unit.models.sampling.stand_in import normal

EPS = discrete()
FIGURES = {"rtol": 3e-7, "atol": 6e-7}  # the recorded figures have six decimals


def test_table_is_the_originals_to_the_last_bit() -> None:
    table = training_table()
    assert hashlib.sha256(struct.pack("<1000f", *table)).hexdigest()[:16] == "187a5a207118003a"
    recorded = {0: 0.0291671582, 1: 0.0413144119, 100: 0.3439312279, 500: 1.6182788610, 998: 14.5262756348}
    assert {i: table[i] for i in recorded} == pytest.approx(recorded, rel=2e-8)


def test_table_equals_the_betas_in_float64() -> None:
    bars = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2)
    np.testing.assert_array_equal(np.array(training_table()), np.sqrt((1 - bars) / bars).astype(np.float32))


def test_percent_of_the_way_gives_the_recorded_sigma() -> None:
    assert [EPS.percent_to_sigma(p) for p in (0.1, 0.5, 0.9)] == pytest.approx([8.307171, 1.61558, 0.343705], rel=1e-6)
    assert EPS.percent_to_sigma(0.0) > 1e8
    assert EPS.percent_to_sigma(1.0) == 0.0


RECORDED = [
    ("normal", None, 8, [14.61464, 6.677999, 3.522057, 2.060642, 1.276832, 0.79126, 0.439666, 0.029167, 0]),
    ("simple", None, 7, [14.614641, 6.70163, 3.528203, 2.061671, 1.276235, 0.790061, 0.438062, 0]),
    ("ddim_uniform", None, 7, [14.265109, 6.57065, 3.485455, 2.047312, 1.272063, 0.790061, 0.440309, 0.041314, 0]),
    ("exponential", None, 7, [14.61464, 5.18568, 1.840024, 0.652892, 0.231664, 0.082201, 0.029167, 0]),
    ("sgm_uniform", None, 4, [14.6146, 4.0861, 1.6156, 0.6951, 0]),
    ("sgm_uniform", "lcm", 8, [14.6146, 7.3918, 4.1708, 2.5629, 1.6679, 1.1139, 0.7325, 0.4367, 0]),
    ("karras", None, 4, [14.6146, 3.1686, 0.4469, 0.0292, 0]),
    ("karras", "edm_playground_v2.5", 10, [
        120.000023, 62.954796, 30.932455, 14.0247, 5.748458, 2.067997, 0.624347, 0.147084, 0.023733, 0.002, 0]),
    ("turbo", None, 4, [14.61464, 8.302803, 5.087763, 3.321083, 0]),
    ("align_your_steps", None, 20, [
        14.6146, 9.6095, 6.3184, 4.8795, 3.7682, *[None] * 13, 0.1114, 0.057, 0]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model_schedule", "steps", "recorded"), RECORDED)
def test_schedule_gives_the_recorded_figures(
    name: str, model_schedule: str | None, steps: int, recorded: list[float | None]
) -> None:
    sigmas = schedule(name, parameterization_for("eps", model_schedule), steps)
    assert len(sigmas) == len(recorded)
    exact = any(value is not None and round(value, 4) != value for value in recorded)
    for value, expected in zip(sigmas, recorded, strict=True):
        if expected is not None:
            assert value == pytest.approx(expected, rel=1e-6, abs=6e-7 if exact else 6e-5)


def test_schedule_without_its_last_but_one_gives_the_recorded_figures() -> None:
    sigmas = denoise_schedule("karras", EPS, 10, drop_penultimate=True)
    recorded = [14.614643, 9.558263, 6.082151, 3.751254, 2.232154, 1.274101, 0.692571, 0.355183, 0.169757, 0.074363, 0]
    np.testing.assert_allclose(sigmas, recorded, **FIGURES)


@pytest.mark.parametrize(("steps", "denoise", "first"), [(18, 0.382, 0.5690), (30, 0.5, 1.2124), (30, 0.85, 7.7548)])
def test_partial_denoise_starts_at_the_recorded_sigma(steps: int, denoise: float, first: float) -> None:
    sigmas = denoise_schedule("karras", EPS, steps, denoise)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(first, abs=5e-5)


def test_timesteps_of_a_karras_schedule_are_the_recorded_ones() -> None:
    recorded = [
        999, 975, 949, 923, 894, 863, 830, 795, 757, 716, 672, 624, 572, 517, 458, 397, 334, 273, 214, 162, 117, 80,
        53, 33, 20, 11, 6, 3, 1, 0,
    ]  # fmt: skip
    assert [EPS.timestep(sigma) for sigma in schedule("karras", EPS, 30)[:-1]] == recorded


def test_distilled_timesteps_are_the_recorded_ones() -> None:
    lcm = parameterization_for("eps", "lcm")
    timesteps = [lcm.timestep(sigma) for sigma in schedule("lcm", lcm, 8)[:-1]]
    assert timesteps == [999, 879, 759, 639, 499, 379, 259, 139]
    playground = [edm().timestep(sigma) for sigma in schedule("karras", edm(), 10)[:-1]]
    assert playground[:3] + playground[-1:] == pytest.approx([1.19687, 1.0356, 0.85795, -1.55365], abs=5e-6)


@pytest.mark.parametrize(
    ("prediction", "model_schedule", "recorded"),
    [
        ("eps", "lcm", [-1.568286, 1.553939, -1.555557, 0.385494]),
        ("eps", "edm_playground_v2.5", [-0.201515, -0.103912, 0.367507, -0.545345]),
        ("v", None, [-0.224026, 0.471015, -0.687651, 0.543063]),
    ],
)
def test_denoised_gives_the_recorded_figures(
    prediction: str, model_schedule: str | None, recorded: list[float]
) -> None:
    x, output = normal(30, (1, 4, 2, 2)), normal(31, (1, 4, 2, 2))
    denoised = parameterization_for(prediction, model_schedule).denoised(x, output, 2.0)
    np.testing.assert_allclose(denoised.flatten()[:4], recorded, rtol=1e-5, atol=1e-6)


def test_beta_schedule_takes_table_entries_at_beta_quantiles() -> None:
    positions = np.rint(beta_distribution.ppf(1 - np.linspace(0, 1, 12, endpoint=False), 0.6, 0.6) * 999).astype(int)
    expected = [training_table()[i] for i in positions]
    assert schedule("beta", EPS, 12) == (*expected, 0.0)


def test_linear_quadratic_joins_its_halves_smoothly() -> None:
    """2.5 % in the first half; the rest a parabola with the line's slope that ends at 1."""
    progress = 1 - np.array(sigma_curves.linear_quadratic(8, 1.0))
    np.testing.assert_allclose(progress[:5], [0, 0.00625, 0.0125, 0.01875, 0.025], atol=1e-12)
    second = np.diff(progress[4:], 2)
    np.testing.assert_allclose(second, second[0])
    assert progress[5] - progress[4] - second[0] / 2 == pytest.approx(0.00625)
    assert progress[-1] == 1


def test_kl_optimal_is_even_in_arctangent() -> None:
    angles = np.arctan(np.array(sigma_curves.kl_optimal(9, 0.03, 14.6)[:-1]))
    np.testing.assert_allclose(np.diff(angles), np.diff(angles)[0])
    np.testing.assert_allclose(np.tan(angles[[0, -1]]), [14.6, 0.03])


def test_laplace_steps_follow_the_quantile_function() -> None:
    """λ = mu − b·sgn(½−x)·ln(1 − 2|½−x|): check a few values written out."""
    values = sigma_curves.laplace(5, 0.03, 14.6)
    eps = 1e-5
    written = [np.exp(-0.5 * np.log(eps)), np.exp(-0.5 * np.log(0.5 + eps)), 1, np.exp(0.5 * np.log(0.5 + eps)), 0]
    np.testing.assert_allclose(values, np.clip(written, 0.03, 14.6), rtol=1e-12)


def test_zero_terminal_snr_equals_diffusers() -> None:
    from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bars = torch.cumprod(1 - rescale_zero_terminal_snr(betas), 0)[:-1]
    rescaled = zero_terminal_snr(EPS).sigmas
    np.testing.assert_allclose(rescaled[:-1], torch.sqrt((1 - bars) / bars).numpy(), rtol=1e-4)
    assert rescaled[-1] == pytest.approx(4518.76, rel=1e-4)


def diffusers_scheduler(name: str, **options: object) -> object:
    import diffusers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(diffusers, name)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, **options
        )


DIFFUSERS = [
    ("euler", "karras", "EulerDiscreteScheduler", {"timestep_spacing": "linspace", "use_karras_sigmas": True}, False),
    ("euler", "normal", "EulerDiscreteScheduler", {"timestep_spacing": "linspace"}, False),
    ("dpmpp_2m", "karras", "DPMSolverMultistepScheduler", {
        "algorithm_type": "dpmsolver++", "use_karras_sigmas": True, "final_sigmas_type": "zero"}, False),
    ("dpmpp_2m_sde", "karras", "DPMSolverMultistepScheduler", {
        "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True, "final_sigmas_type": "zero"}, True),
    ("dpmpp_2m_sde_heun", "karras", "DPMSolverMultistepScheduler", {
        "algorithm_type": "sde-dpmsolver++", "solver_type": "heun", "use_karras_sigmas": True,
        "final_sigmas_type": "zero"}, True),
]  # fmt: skip


@pytest.mark.parametrize(("sampler", "scheduler", "peer", "options", "noisy"), DIFFUSERS)
def test_run_equals_diffusers_scheduler(
    sampler: str, scheduler: str, peer: str, options: dict[str, object], noisy: bool
) -> None:
    """The rows of the feasibility study that match; diffusers keeps variance-preserving latents in some of them."""
    steps = 20
    theirs = diffusers_scheduler(peer, **options)
    theirs.set_timesteps(steps)  # type: ignore[attr-defined]
    sigmas = tuple(float(sigma) for sigma in theirs.sigmas)  # type: ignore[attr-defined]
    np.testing.assert_allclose(sigmas, schedule(scheduler, EPS, steps), rtol=2e-5, atol=1e-6)
    preserving = "DPM" in peer
    denoiser = AnalyticDenoiser()
    x = start(sigmas[0])
    z = x / (1 + sigmas[0] ** 2) ** 0.5 if preserving else x
    for i, timestep in enumerate(theirs.timesteps):  # type: ignore[attr-defined]
        scale = (1 + sigmas[i] ** 2) ** 0.5 if preserving else 1.0
        noise = {"variance_noise": replayed_noise(sigmas[i], sigmas[i + 1])} if noisy else {}
        if preserving:
            eps = (z * scale - denoiser(z * scale, sigmas[i])) / sigmas[i]
        else:
            theirs.scale_model_input(z, timestep)  # type: ignore[attr-defined]
            eps = (z - denoiser(z, sigmas[i])) / sigmas[i]
        z = theirs.step(eps, timestep, z, **noise).prev_sample  # type: ignore[attr-defined]
    ours = SAMPLERS[sampler](AnalyticDenoiser(), x, sigmas, noise=replayed_noise, callback=ignore_progress)
    torch.testing.assert_close(ours, z.to(ours), rtol=1e-4, atol=1e-4)
