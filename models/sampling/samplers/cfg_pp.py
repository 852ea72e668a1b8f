"""CFG++ (Chung et al. 2024): renoise with the negative branch's noise instead of the guided one."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import ancestral_step, slope


def euler_cfg_pp(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """CFG++ on DDIM (its algorithm 1) in sigma space."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, negative = denoise.with_negative(x, sigma)
        callback(step, total, x, denoised)
        x = denoised + slope(x, negative, sigma) * sigma_next
    return x


def euler_ancestral_cfg_pp(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """CFG++ down to sigma_down, then fresh noise up to sigma_next."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, negative = denoise.with_negative(x, sigma)
        callback(step, total, x, denoised)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        x = denoised + slope(x, negative, sigma) * sigma_down
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * sigma_up)
    return x


def dpmpp_2m_cfg_pp(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback
) -> Tensor:
    """CFG++ on DPM-Solver++(2M): the multistep correction compares with the negative branch's previous estimate."""
    total = len(sigmas) - 1
    previous, h_last = None, 0.0
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, negative = denoise.with_negative(x, sigma)
        callback(step, total, x, denoised)
        x = denoised + (x - negative) * (sigma_next / sigma)
        if sigma_next > 0:
            h = math.log(sigma / sigma_next)
            if previous is not None:
                x = x + (denoised - previous) * (-math.expm1(-h) * h / (2 * h_last))
            h_last = h
        previous = negative
    return x


def dpmpp_2s_ancestral_cfg_pp(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    *,
    noise: Noise,
    callback: Callback,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """CFG++ on DPM-Solver++(2S), r = ½: both halves start from x moved by (guided − negative)."""
    total = len(sigmas) - 1
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised, negative = denoise.with_negative(x, sigma)
        callback(step, total, x, denoised)
        sigma_down, sigma_up = ancestral_step(sigma, sigma_next, eta)
        if sigma_down == 0:
            x = denoised
        else:
            moved = x + (denoised - negative)
            sigma_mid = math.sqrt(sigma * sigma_down)
            x_mid = denoised.lerp(moved, sigma_mid / sigma)
            x = denoise(x_mid, sigma_mid).lerp(moved, sigma_down / sigma)
        if sigma_next > 0:
            x = x + noise(sigma, sigma_next) * (s_noise * sigma_up)
    return x
