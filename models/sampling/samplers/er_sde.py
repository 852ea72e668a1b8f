"""ER-SDE-Solver (Cui et al. 2023): extended reverse-time SDE with the authors' noise scale, up to third order."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import toward

INTEGRATION_POINTS = 200  # left Riemann sum over each step


def noise_scale(sigma: float) -> float:
    """φ(σ) = σ·(e^(σ^0.3) + 10): the authors' choice ("ER-SDE 5")."""
    return sigma * (math.exp(sigma**0.3) + 10.0)


def er_sde(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """VE ER-SDE-Solver-3: Taylor expansion of the estimate with integrals of 1/φ."""
    total = len(sigmas) - 1
    previous = previous_slope = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        share = noise_scale(sigma_next) / noise_scale(sigma)
        x = toward(x, denoised, share)
        if previous is not None:
            dt = sigma_next - sigma
            plain, moment = _integrals(sigma, sigma_next)
            d = (denoised - previous) / (sigma - sigmas[step - 1])
            x = x + d * (dt + plain * noise_scale(sigma_next))
            if previous_slope is not None:
                d_2 = (d - previous_slope) / ((sigma - sigmas[step - 2]) / 2)
                x = x + d_2 * (dt * dt / 2 + moment * noise_scale(sigma_next))
            previous_slope = d
        variance = sigma_next**2 - (sigma * share) ** 2
        x = x + noise(sigma, sigma_next) * math.sqrt(max(variance, 0.0))
        previous = denoised
    return x


def _integrals(sigma: float, sigma_next: float) -> tuple[float, float]:
    """∫ 1/φ and ∫ (λ − σ)/φ over λ from sigma_next to sigma."""
    width = (sigma - sigma_next) / INTEGRATION_POINTS
    points = [sigma_next + width * k for k in range(INTEGRATION_POINTS)]
    inverse = [1 / noise_scale(point) for point in points]
    moment = sum((point - sigma) * weight for point, weight in zip(points, inverse, strict=True))
    return sum(inverse) * width, moment * width
