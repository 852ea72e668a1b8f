"""One model evaluation per step, no memory: Euler's method and its ancestral form."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, slope


def euler(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Euler's method on the probability-flow ODE: Karras et al. 2022, algorithm 2 without churn and correction."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        x = x + slope(x, denoised, sigma) * (sigma_next - sigma)
    return x


def euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Euler down to sigma_down, then fresh noise up to sigma_next."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = x + slope(x, denoised, sigma) * (sigma_down - sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * sigma_up)
    return x
