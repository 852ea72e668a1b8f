"""Methods that remember the slopes or estimates of earlier steps: one model evaluation per step, no noise."""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import slope, toward

ADAMS_BASHFORTH = (  # weights of the newest slope first, even steps
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)
LMS_ORDER = 4
GRADIENT_ESTIMATION_GAMMA = 2.0


def lms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Linear multistep: integrate the polynomial through the last four slopes over sigma exactly."""
    total = len(sigmas) - 1
    slopes: deque[Tensor] = deque(maxlen=LMS_ORDER)  # newest first
    for step, sigma in enumerate(sigmas[:-1]):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        slopes.appendleft(slope(x, denoised, sigma))
        for j, d in enumerate(slopes):
            x = x + d * lagrange_integral(sigmas, step, j, len(slopes))
    return x


def lagrange_integral(sigmas: Sequence[float], step: int, j: int, order: int) -> float:
    """The integral, over one step, of the Lagrange polynomial that is 1 at j steps back and 0 at the other knots.

    Two Gauss points integrate polynomials up to degree 3 exactly, so order may be up to 4.
    """
    knots = [sigmas[step - k] for k in range(order)]

    def basis(sigma: float) -> float:
        return math.prod((sigma - knots[k]) / (knots[j] - knots[k]) for k in range(order) if k != j)

    half = (sigmas[step + 1] - sigmas[step]) / 2
    middle = sigmas[step] + half
    return half * (basis(middle - half / math.sqrt(3)) + basis(middle + half / math.sqrt(3)))


def ipndm(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Improved PNDM (Zhang & Chen 2022): Adams-Bashforth up to order 4 with weights for even steps."""
    total = len(sigmas) - 1
    slopes: deque[Tensor] = deque(maxlen=len(ADAMS_BASHFORTH))
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        slopes.appendleft(slope(x, denoised, sigma))
        for d, weight in zip(slopes, ADAMS_BASHFORTH[len(slopes) - 1], strict=True):
            x = x + d * (weight * (sigma_next - sigma))
    return x


def gradient_estimation(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback
) -> Tensor:
    """Permenter & Yuan 2023, algorithm 2 with gamma = 2: Euler along γ·(slope) + (1 − γ)·(previous slope)."""
    total = len(sigmas) - 1
    previous = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0:
            x = denoised
            continue
        d = slope(x, denoised, sigma)
        estimate = d if previous is None else previous.lerp(d, GRADIENT_ESTIMATION_GAMMA)
        x = x + estimate * (sigma_next - sigma)
        previous = d
    return x


def res_multistep(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Refined exponential solver, two steps (Zhang et al. 2023), all order-2 conditions met; last step first order."""
    total = len(sigmas) - 1
    previous = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        if sigma_next == 0 or previous is None:
            x = toward(x, denoised, sigma_next / sigma)
        else:
            h = math.log(sigma / sigma_next)
            c_2 = math.log(sigma / sigmas[step - 1]) / h  # where the previous estimate lies; negative
            phi_1 = -math.expm1(-h) / h
            phi_2 = (1 - phi_1) / h
            x = x * (sigma_next / sigma) + (denoised * (phi_1 - phi_2 / c_2) + previous * (phi_2 / c_2)) * h
        previous = denoised
    return x
