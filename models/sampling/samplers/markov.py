"""Samplers that throw the clean estimate back to a lower noise level: DDPM and the consistency models' own."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.parameterization import float32
from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import slope

TCD_ETA = 0.3


def ddpm(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Ho et al. 2020, algorithm 2 with the posterior variance of eq. 7, in variance-preserving scale."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        bar, bar_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        alpha = bar / bar_next
        epsilon = slope(x, denoised, sigma)
        x = (x * math.sqrt(bar) - epsilon * ((1 - alpha) / math.sqrt(1 - bar))) / math.sqrt(alpha)
        if sigma_next > 0:
            variance = (1 - alpha) * (1 - bar_next) / (1 - bar)
            x = x + noise(sigma, sigma_next) * math.sqrt(max(variance, 0.0))  # none on a step up
            x = x / math.sqrt(bar_next)
    return x


def lcm(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Multistep consistency sampling (Song et al. 2023, algorithm 1): jump to the estimate, noise it again."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x = denoise(x_noisy := x, sigma)
        callback(step, total, x_noisy, x)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * sigma_next
    return x


def tcd(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Trajectory consistency (Zheng et al. 2024), strategic stochastic sampling with gamma = 0.3.

    Jump along the trajectory to timestep s = ⌊(1−γ)·t'⌋, then noise from s up to t'.
    """
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        bar = denoise.parameterization.alpha_bar(_trajectory_timestep(denoise, sigma_next))
        x = denoised * math.sqrt(bar) + slope(x, denoised, sigma) * math.sqrt(1 - bar)
        if sigma_next > 0:
            x = x / math.sqrt(bar) + noise(sigma, sigma_next) * math.sqrt(sigma_next**2 + 1 - 1 / bar)
    return x


def _trajectory_timestep(denoise: Denoiser, sigma: float) -> int:
    if sigma == 0:
        return 0
    return math.floor(float32((1 - TCD_ETA) * denoise.parameterization.timestep(sigma)))
