"""DPM-Solver (Lu et al. 2022) with noise prediction: fixed evaluations ("fast") or an adaptive step size."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.steps import slope
from models.sampling.sigma_curves import linspace

RTOL, ATOL = 0.05, 0.0078
H_INIT = 0.05
ACCEPT_SAFETY = 0.81
ADAPTIVE_ORDER = 3
CLOSE_ENOUGH = 1e-5  # in −ln sigma


def dpm_fast(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver-fast: as many evaluations as the schedule has steps, in steps of order 3 evenly spaced in ln sigma.

    Ends at the schedule's last sigma above 0. The callback comes once per solver step: ⌊n/3⌋ + 1 times.
    """
    evaluations = len(sigmas) - 1
    first, last = -math.log(sigmas[0]), -math.log(_smallest(sigmas))
    total = evaluations // 3 + 1
    rest = evaluations % 3
    orders = [3] * (total - 2) + [2, 1] if rest == 0 else [3] * (total - 1) + [rest]
    solvers = {1: _first_order, 2: _second_order, 3: _third_order}
    for step, (t, t_next) in enumerate(pairwise(linspace(first, last, total + 1))):
        sigma = math.exp(-t)
        denoised = denoise(x, sigma)
        callback(step, total, x, denoised)
        x = solvers[orders[step]](_Epsilon(denoise, x, t, slope(x, denoised, sigma)), t_next)
    return x


def dpm_adaptive(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """DPM-Solver-12/23's adaptive step size (its appendix C) with orders 2 and 3: three evaluations per trial step.

    Walks from the first sigma to the last above 0; the schedule between them does not matter. The callback comes
    once per trial, with the share of the way that is done. Waits for the device once per trial.
    """
    total = len(sigmas) - 1
    t_first, t_last = -math.log(sigmas[0]), -math.log(_smallest(sigmas))
    t, h = t_first, H_INIT
    x_previous = x
    while t < t_last - CLOSE_ENOUGH:
        sigma = math.exp(-t)
        denoised = denoise(x, sigma)
        callback(int(total * (t - t_first) / (t_last - t_first)), total, x, denoised)
        trial = _Epsilon(denoise, x, t, slope(x, denoised, sigma))
        t_next = min(t_last, t + h)
        x_low = _second_order(trial, t_next, r_1=1 / 3)
        x_high = _third_order(trial, t_next)
        error = _relative_error(x_low, x_high, x_previous)
        if math.isnan(error):
            return x_high  # no step size would ever be accepted
        factor = _step_factor(error)
        if factor >= ACCEPT_SAFETY:
            x_previous, x, t = x_low, x_high, t_next
        h *= factor
    return x


def _smallest(sigmas: Sequence[float]) -> float:
    return sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]


def _relative_error(x_low: Tensor, x_high: Tensor, x_previous: Tensor) -> float:
    tolerance = (torch.maximum(x_low.abs(), x_previous.abs()) * RTOL).clamp_(min=ATOL)
    return float(torch.linalg.vector_norm((x_low - x_high) / tolerance)) / math.sqrt(x_low.numel())


def _step_factor(error: float) -> float:
    """An integral controller with Söderlind's smooth limiter."""
    return 1 + math.atan((1 / (error + 1e-8)) ** (1 / ADAPTIVE_ORDER) - 1)


class _Epsilon:
    """The predicted noise along a step from (x, t), t = −ln sigma; evaluations are kept for a second solver."""

    def __init__(self, denoise: Denoiser, x: Tensor, t: float, epsilon: Tensor) -> None:
        self.x, self.t, self.epsilon = x, t, epsilon
        self._denoise = denoise
        self._kept: dict[float, Tensor] = {}

    def difference(self, x: Tensor, t: float) -> Tensor:
        """Evaluate at another point of the step, relative to the first noise."""
        if t not in self._kept:
            sigma = math.exp(-t)
            self._kept[t] = slope(x, self._denoise(x, sigma), sigma) - self.epsilon
        return self._kept[t]


def _first_order(e: _Epsilon, t_next: float) -> Tensor:
    return e.x - e.epsilon * (math.exp(-t_next) * math.expm1(t_next - e.t))


def _second_order(e: _Epsilon, t_next: float, r_1: float = 1 / 2) -> Tensor:
    h, sigma_next = t_next - e.t, math.exp(-t_next)
    s_1 = e.t + r_1 * h
    d_1 = e.difference(_first_order(e, s_1), s_1)
    return e.x - (e.epsilon + d_1 / (2 * r_1)) * (sigma_next * math.expm1(h))


def _third_order(e: _Epsilon, t_next: float, r_1: float = 1 / 3, r_2: float = 2 / 3) -> Tensor:
    h, sigma_next = t_next - e.t, math.exp(-t_next)
    s_1, s_2 = e.t + r_1 * h, e.t + r_2 * h
    d_1 = e.difference(_first_order(e, s_1), s_1)
    bend = math.exp(-s_2) * (r_2 / r_1) * (math.expm1(r_2 * h) / (r_2 * h) - 1)
    d_2 = e.difference(_first_order(e, s_2) - d_1 * bend, s_2)
    return e.x - e.epsilon * (sigma_next * math.expm1(h)) - d_2 * (sigma_next / r_2 * (math.expm1(h) / h - 1))
