"""Second-order one-step methods: Heun, Heun++ and DPM-Solver-2."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, slope


def heun(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Karras et al. 2022, algorithm 1: trapezoid rule, Euler for the last step to 0."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        x = heun_step(denoise, x, denoised, sigma, sigma_next)
    return x


def heun_step(denoise: Denoiser, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """One trapezoid step from an estimate already made at (x, sigma)."""
    d = slope(x, denoised, sigma)
    dt = sigma_next - sigma
    x_euler = x + d * dt
    if sigma_next == 0:
        return x_euler
    d_next = slope(x_euler, denoise(x_euler, sigma_next), sigma_next)
    return x + (d + d_next) * (dt / 2)


def heunpp2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Heun++: average the slopes at up to three Euler points ahead, weighted by their sigmas over the first sigma."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        d = slope(x, denoised, sigma)
        dt = sigma_next - sigma
        if sigma_next == sigmas[-1]:
            x = x + d * dt
            continue
        x_2 = x + d * dt
        d_2 = slope(x_2, denoise(x_2, sigma_next), sigma_next)
        sigma_after = sigmas[step + 2]
        if sigma_after == sigmas[-1]:
            w_2 = sigma_next / (2 * sigmas[0])
            x = x + (d * (1 - w_2) + d_2 * w_2) * dt
            continue
        x_3 = x_2 + d_2 * (sigma_after - sigma_next)
        d_3 = slope(x_3, denoise(x_3, sigma_after), sigma_after)
        w_2, w_3 = sigma_next / (3 * sigmas[0]), sigma_after / (3 * sigmas[0])
        x = x + (d * (1 - w_2 - w_3) + d_2 * w_2 + d_3 * w_3) * dt
    return x


def dpm_2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver-2 inspired by Karras et al. 2022: the slope at the geometric middle of the step."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        x = _midpoint_step(denoise, x, denoised, sigma, sigma_next)
    return x


def dpm_2_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver-2 down to sigma_down, then fresh noise up to sigma_next."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = _midpoint_step(denoise, x, denoised, sigma, sigma_down)
        if sigma_down > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * sigma_up)
    return x


def _midpoint_step(denoise: Denoiser, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float) -> Tensor:
    d = slope(x, denoised, sigma)
    if sigma_next == 0:
        return x + d * (sigma_next - sigma)
    sigma_mid = math.sqrt(sigma * sigma_next)
    x_mid = x + d * (sigma_mid - sigma)
    return x + slope(x_mid, denoise(x_mid, sigma_mid), sigma_mid) * (sigma_next - sigma)
