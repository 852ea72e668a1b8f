"""DPM-Solver++ (Lu et al. 2022) without noise or with ancestral noise: data prediction, time λ = −ln sigma."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, slope, toward


def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver++(2M), algorithm 2: extrapolate the estimate from the last two; first and last step first order."""
    total = len(sigmas) - 1
    previous, h_last = None, 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        target = denoised
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            if previous is not None:
                target = denoised + (denoised - previous) * (h / (2 * h_last))
            h_last = h
        x = toward(x, target, sigma_next / sigma)
        previous = denoised
    return x


def dpmpp_2s_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver++(2S), algorithm 1 with r = ½, down to sigma_down, then fresh noise up to sigma_next."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        if sigma_down == 0:
            x = x + slope(x, denoised, sigma) * (sigma_down - sigma)
        else:
            sigma_mid = math.sqrt(sigma * sigma_down)
            x_mid = toward(x, denoised, sigma_mid / sigma)
            x = toward(x, denoise(x_mid, sigma_mid), sigma_down / sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * sigma_up)
    return x
