"""DPM-Solver++ for the reverse-time SDE (Lu et al. 2022, in k-diffusion's form), time λ = −ln sigma.

eta scales the stochasticity: 1 is the full reverse-time SDE, 0 the ODE. s_noise scales the noise alone.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, toward


def dpmpp_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver++ (stochastic): a second estimate in the geometric middle (r = ½) of every step but the last."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        sigma_mid = math.sqrt(sigma * sigma_next)
        down, up = ancestral_step(sigma, sigma_mid, eta)
        x_mid = toward(x, denoised, down / sigma) + noise(sigma, sigma_mid) * (s_noise * up)
        denoised = denoise(x_mid, sigma_mid)  # with r = ½ the first estimate's weight 1 − 1/(2r) is 0
        down, up = ancestral_step(sigma, sigma_next, eta)
        x = toward(x, denoised, down / sigma) + noise(sigma, sigma_next) * (s_noise * up)
    return x


def dpmpp_2m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2M), midpoint: the multistep correction weighs ½(1 − e^(−h−ηh))."""

    def midpoint(h_eta: float) -> float:
        return -0.5 * math.expm1(-h_eta)

    return _two_step(denoise, x, sigmas, noise, callback, eta, s_noise, midpoint)


def dpmpp_2m_sde_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(2M), Heun type: the multistep correction is integrated exactly."""
    return _two_step(denoise, x, sigmas, noise, callback, eta, s_noise, _phi_2)


def _two_step(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    callback: Callback,
    eta: float,
    s_noise: float,
    correction: Callable[[float], float],
) -> Tensor:
    total = len(sigmas) - 1
    previous, h_last = None, 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)
        h_eta = h * (1 + eta)
        x = toward(x, denoised, math.exp(-h_eta))
        if previous is not None:
            x = x + (denoised - previous) * (correction(h_eta) * h / h_last)
        if eta:
            x = x + noise(sigma, sigma_next) * (s_noise * _noise_level(sigma_next, h, eta))
        previous, h_last = denoised, h
    return x


def dpmpp_3m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """SDE-DPM-Solver++(3M): first and second divided differences of the last three estimates."""
    total = len(sigmas) - 1
    previous = before = None  # the last estimate and the one before it
    h_1 = h_2 = 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)
        h_eta = h * (1 + eta)
        phi_2 = _phi_2(h_eta)
        x = toward(x, denoised, math.exp(-h_eta))
        if previous is not None and before is not None:
            r_0, r_1 = h_1 / h, h_2 / h
            difference = (denoised - previous) / r_0
            curvature = (difference - (previous - before) / r_1) / (r_0 + r_1)
            x = x + (difference + curvature * r_0) * phi_2 - curvature * (phi_2 / h_eta - 0.5)
        elif previous is not None:
            x = x + (denoised - previous) * (phi_2 * h / h_1)
        if eta:
            x = x + noise(sigma, sigma_next) * (s_noise * _noise_level(sigma_next, h, eta))
        previous, before, h_1, h_2 = denoised, previous, h, h_1
    return x


def _phi_2(h: float) -> float:
    """(e^(−h) − 1)/h + 1."""
    return math.expm1(-h) / h + 1


def _noise_level(sigma_next: float, h: float, eta: float) -> float:
    return sigma_next * math.sqrt(max(-math.expm1(-2 * h * eta), 0.0))  # none on a step up
