"""Restart sampling (Xu et al. 2023): go down, add noise back up, and go down the same stretch again."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor

from models.sampling.protocol import Callback, Denoiser, Noise
from models.sampling.samplers.heun import heun_step
from models.sampling.sigma_curves import karras

RESTART_LOW, RESTART_HIGH = 0.1, 2.0  # the stretch that is repeated, in sigma
FEWEST_STEPS = 20  # below, there is nothing to spare for a restart
TWO_RESTARTS = 36


def restart(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback) -> Tensor:
    """Heun along a schedule of as many steps as given, part of which repeat the stretch from sigma 2 to 0.1."""
    plan = restart_plan(sigmas)
    reached = plan[0][0]
    for step, (sigma, sigma_next) in enumerate(plan):
        if sigma > reached:
            x = x + noise(reached, sigma) * math.sqrt(sigma**2 - reached**2)
        denoised = denoise(x, sigma)
        callback(step, len(plan), x, denoised)
        x = heun_step(denoise, x, denoised, sigma, sigma_next)
        reached = sigma_next
    return x


def restart_plan(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """The (sigma, sigma_next) of every step. Fewer than 20 steps: the schedule itself.

    Otherwise a Karras schedule between the given ends for the steps that the restarts leave over, with one restart of
    9 steps, or from 36 steps on two of a quarter each.
    """
    steps = len(sigmas) - 1
    if steps < FEWEST_STEPS:
        return list(itertools.pairwise(sigmas))
    restart_steps, times = (steps // 4, 2) if steps >= TWO_RESTARTS else (9, 1)
    base = karras(steps - restart_steps * times, sigmas[-2], sigmas[0])
    low, high = (min(range(len(base)), key=lambda i: abs(base[i] - bound)) for bound in (RESTART_LOW, RESTART_HIGH))
    plan = list(itertools.pairwise(base))
    if high >= low:  # the whole schedule lies beside the stretch
        return plan
    again = karras(restart_steps + 1, base[low], base[high])[:-1]
    return plan[:low] + list(itertools.pairwise(again)) * times + plan[low:]
