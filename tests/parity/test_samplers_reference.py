"""Every sampler against its published formula in float64 (sampler_references.py), on a denoiser in closed form."""

import itertools
import math

import numpy as np
import pytest
import torch

from models.sampling.protocol import ignore_progress
from models.sampling.samplers import SAMPLERS, er_sde
from models.sampling.sigma_curves import exponential, karras
from tests.parity import sampler_references as references
from tests.unit.models.sampling.analytic import (
    AnalyticDenoiser,
    clean_estimate,
    negative_estimate,
    replayed_noise,
    start,
)

SIGMAS = {"karras": karras(9, 0.03, 14.6), "exponential": exponential(7, 0.05, 6.0), "short": (4.0, 1.0, 0.0)}
TOLERANCE = 1e-10

REFERENCED = [name for name in vars(references) if name in SAMPLERS]


def run(name: str, sigmas: tuple[float, ...]) -> np.ndarray:
    sampler = SAMPLERS[name]
    return sampler(AnalyticDenoiser(), start(sigmas[0]), sigmas, noise=replayed_noise, callback=ignore_progress).numpy()


def noise(sigma: float, sigma_next: float) -> np.ndarray:
    return replayed_noise(sigma, sigma_next).numpy()


@pytest.mark.parametrize("schedule", SIGMAS)
@pytest.mark.parametrize("name", REFERENCED)
def test_sampler_equals_its_published_formula(name: str, schedule: str) -> None:
    sigmas = SIGMAS[schedule]
    expected = getattr(references, name)(clean_estimate, noise, start(sigmas[0]).numpy(), sigmas)
    np.testing.assert_allclose(run(name, sigmas), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", ["uni_pc", "uni_pc_bh2"])
def test_unipc_order_follows_the_step_count(name: str, steps: int) -> None:
    sigmas = karras(steps, 0.05, 10.0)
    if steps == 1:  # a single step has no history: one first-order step to the smallest sigma
        x = start(sigmas[0]).numpy()
        expected = clean_estimate(x, sigmas[0]) + (0.001 / sigmas[0]) * (x - clean_estimate(x, sigmas[0]))
    else:
        expected = getattr(references, name)(clean_estimate, noise, start(sigmas[0]).numpy(), sigmas)
    np.testing.assert_allclose(run(name, sigmas), expected, rtol=1e-9, atol=1e-9)


def test_every_sampler_has_a_reference_somewhere() -> None:
    here = {"euler_cfg_pp", "euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp", "dpmpp_2s_ancestral_cfg_pp", "tcd", "restart"}
    same = {"ddim"} | {name for name in SAMPLERS if name.endswith("_gpu")}
    assert set(SAMPLERS) == set(REFERENCED) | here | same
    assert all(SAMPLERS[name].function is SAMPLERS[name.removesuffix("_gpu")].function for name in same - {"ddim"})
    assert SAMPLERS["ddim"].function is SAMPLERS["euler"].function


def test_tcd_noises_up_from_the_shortened_timestep() -> None:
    """Zheng et al., algorithm 4 in VP scale with the table of ᾱ; timesteps s = ⌊0.7·t⌋."""
    denoiser = AnalyticDenoiser()
    p = denoiser.parameterization
    timesteps = [999, 759, 519, 279]
    sigmas = (*(p.sigma(t) for t in timesteps), 0.0)
    bars = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    ends = [math.floor(0.7 * t) for t in timesteps[1:]] + [0]
    x = start(sigmas[0]).numpy()
    z = x * math.sqrt(bars[999])
    for i, t in enumerate(timesteps):
        x_0 = clean_estimate(z / math.sqrt(bars[t]), sigmas[i])
        eps = (z - math.sqrt(bars[t]) * x_0) / math.sqrt(1 - bars[t])
        z = math.sqrt(bars[ends[i]]) * x_0 + math.sqrt(1 - bars[ends[i]]) * eps
        if i < 3:
            ratio = bars[timesteps[i + 1]] / bars[ends[i]]
            z = math.sqrt(ratio) * z + math.sqrt(1 - ratio) * noise(sigmas[i], sigmas[i + 1])
    actual = SAMPLERS["tcd"](denoiser, start(sigmas[0]), sigmas, noise=replayed_noise, callback=ignore_progress)
    np.testing.assert_allclose(actual.numpy(), z, rtol=1e-5, atol=1e-5)  # the model's table is float32


@pytest.mark.parametrize(("steps", "repeats", "length"), [(8, 0, 0), (20, 1, 9), (40, 2, 10)])
def test_restart_repeats_the_stretch_between_sigma_2_and_a_tenth(steps: int, repeats: int, length: int) -> None:
    """Heun on the spread-out schedule; noise of variance hi² − lo² at every jump up (Xu et al., algorithm 1)."""
    sigmas = karras(steps, 0.03, 14.6)
    base = karras(steps - repeats * length, sigmas[-2], sigmas[0]) if repeats else sigmas
    low = int(np.argmin(np.abs(np.array(base) - 0.1)))
    high = int(np.argmin(np.abs(np.array(base) - 2)))
    legs = [list(base[: low + 1]), *[list(karras(length + 1, base[low], base[high])[:-1])] * repeats, list(base[low:])]
    legs = legs if repeats else [list(sigmas)]
    x = start(sigmas[0]).numpy()
    for i, leg in enumerate(legs):
        if i and leg[0] > legs[i - 1][-1]:
            lower = legs[i - 1][-1]
            x = x + math.sqrt(leg[0] ** 2 - lower**2) * noise(lower, leg[0])
        x = references.heun(clean_estimate, noise, x, leg)
    np.testing.assert_allclose(run("restart", sigmas), x, rtol=1e-6, atol=1e-6)


def test_cfg_plus_plus_renoises_with_the_negative_branch() -> None:
    """CFG++, algorithm 1 and its SDE, 2M and 2S forms, in sigma space."""
    s = SIGMAS["karras"]
    d, u = clean_estimate, negative_estimate
    plain, ancestral, x_2m, x_2s = (start(s[0]).numpy() for _ in range(4))
    before = None
    for i, (a, b) in enumerate(itertools.pairwise(s)):
        plain = d(plain, a) + b * (plain - u(plain, a)) / a
        down, up = references.split(a, b)
        ancestral = d(ancestral, a) + down * (ancestral - u(ancestral, a)) / a + (up * noise(a, b) if b else 0)
        keep = x_2m
        x_2m = d(keep, a) + b / a * (keep - u(keep, a))
        if b and before is not None:
            r = math.log(s[i - 1] / a) / math.log(a / b)
            x_2m = x_2m + (1 - b / a) / (2 * r) * (d(keep, a) - before)
        before = u(keep, a)
        if b:
            moved, m = x_2s + d(x_2s, a) - u(x_2s, a), math.sqrt(a * down)
            y = m / a * moved + (1 - m / a) * d(x_2s, a)
            x_2s = down / a * moved + (1 - down / a) * d(y, m) + up * noise(a, b)
        else:
            x_2s = d(x_2s, a)
    expected = {
        "euler_cfg_pp": plain,
        "euler_ancestral_cfg_pp": ancestral,
        "dpmpp_2m_cfg_pp": x_2m,
        "dpmpp_2s_ancestral_cfg_pp": x_2s,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(run(name, s), value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def test_er_sde_sums_come_close_to_the_integrals_they_stand_for() -> None:
    from scipy.integrate import quad

    plain, moment = er_sde._integrals(3.0, 2.0)
    assert plain == pytest.approx(quad(lambda v: 1 / er_sde.noise_scale(v), 2, 3)[0], rel=2e-3)
    assert moment == pytest.approx(quad(lambda v: (v - 3) / er_sde.noise_scale(v), 2, 3)[0], rel=1e-2)


ORDERS = {  # multistep methods start (and UniPC ends) with one first-order step, which leaves them order 2 overall
    "euler": 1, "heun": 2, "dpm_2": 2, "dpmpp_2m": 2, "res_multistep": 2, "lms": 2, "uni_pc": 2, "uni_pc_bh2": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_error_falls_with_the_order_that_the_method_claims(name: str) -> None:
    """Between two smooth noise levels, against a very fine solution; halving the step divides the error by 2^order."""

    def solve(steps: int) -> np.ndarray:
        sigmas = tuple(np.geomspace(8.0, 2.0, steps + 1).tolist())
        return run(name, sigmas)

    exact = torch.as_tensor(references.heun(clean_estimate, noise, start(8.0).numpy(), np.geomspace(8, 2, 20_001)))
    errors = [float((torch.as_tensor(solve(steps)) - exact).abs().max()) for steps in (20, 40)]
    assert math.log2(errors[0] / errors[1]) > ORDERS[name] - 0.35
