"""DPM-Solver++ for the reverse-time SDE (Lu et al. 2022; k-diffusion's SDE forms), eta = 1, time λ = −ln sigma."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, toward

ETA = 1.0


def dpmpp_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver++ (stochastic): a second estimate in the geometric middle (r = ½) of every step but the last."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        sigma_mid = math.sqrt(sigma * sigma_next)
        down, up = ancestral_step(sigma, sigma_mid, ETA)
        x_mid = toward(x, denoised, down / sigma) + noise(sigma, sigma_mid) * up
        denoised_mid = denoise(x_mid, sigma_mid)
        down, up = ancestral_step(sigma, sigma_next, ETA)
        x = toward(x, denoised_mid, down / sigma) + noise(sigma, sigma_next) * up  # 1/(2r) = 1: only the middle counts
    return x


def dpmpp_2m_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """SDE-DPM-Solver++(2M), midpoint: the multistep correction weighs ½(1 − e^(−h−ηh))."""

    def midpoint(h: float) -> float:
        return 0.5 * -math.expm1(-h * (1 + ETA))

    return _multistep(denoise, x, sigmas, noise, callback, midpoint)


def dpmpp_2m_sde_heun(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback
) -> Tensor:
    """SDE-DPM-Solver++(2M), Heun type: the multistep correction is integrated exactly."""

    def heun(h: float) -> float:
        return -math.expm1(-h * (1 + ETA)) / (-h * (1 + ETA)) + 1

    return _multistep(denoise, x, sigmas, noise, callback, heun)


def _multistep(denoise, x, sigmas, noise, callback, correction) -> Tensor:
    total = len(sigmas) - 1
    previous, h_last = None, 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)
        x = toward(x, denoised, sigma_next / sigma * math.exp(-h * ETA))
        if previous is not None:
            x = x + (denoised - previous) * (correction(h) * h / h_last)
        x = x + noise(sigma, sigma_next) * (sigma_next * math.sqrt(-math.expm1(-2 * h * ETA)))
        previous, h_last = denoised, h
    return x


def dpmpp_3m_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """SDE-DPM-Solver++(3M): first and second divided differences of the last three estimates."""
    total = len(sigmas) - 1
    d_1 = d_2 = None  # the previous estimate and the one before
    h_1 = h_2 = 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)
        h_eta = h * (1 + ETA)
        x = toward(x, denoised, math.exp(-h_eta))
        phi_2 = math.expm1(-h_eta) / h_eta + 1
        if d_1 is not None and d_2 is not None:
            r_0, r_1 = h_1 / h, h_2 / h
            difference_0 = (denoised - d_1) / r_0
            difference_1 = (d_1 - d_2) / r_1
            curvature = (difference_0 - difference_1) / (r_0 + r_1)
            phi_3 = phi_2 / h_eta - 0.5
            x = x + (difference_0 + curvature * r_0) * phi_2 - curvature * phi_3
        elif d_1 is not None:
            x = x + (denoised - d_1) * (phi_2 * h / h_1)
        x = x + noise(sigma, sigma_next) * (sigma_next * math.sqrt(-math.expm1(-2 * h * ETA)))
        d_1, d_2, h_1, h_2 = denoised, d_1, h, h_1
    return x
