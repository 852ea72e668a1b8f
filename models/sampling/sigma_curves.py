"""Noise schedules that are plain curves: they need no model, only their ends.

Every function returns descending Python floats; those that end in 0 say so. k-diffusion's three curves are computed
in float32, as k-diffusion does: a Brownian path amplifies a difference in the last digit of a sigma a thousandfold.
"""

import math
from collections.abc import Sequence

import torch

Sigmas = tuple[float, ...]

ALIGN_YOUR_STEPS = {  # Sabour et al. 2024, the ten-step tables NVIDIA published
    "SD1": (14.6146412293, 6.4745760956, 3.8636745985, 2.6946151520, 1.8841921177, 1.3943805092,
            0.9642583904, 0.6523686016, 0.3977456272, 0.1515232662, 0.0291671582),
    "SDXL": (14.6146412293, 6.3184485287, 3.7681790315, 2.1811480769, 1.3405244945, 0.8620721141,
             0.5550693289, 0.3798540708, 0.2332364134, 0.1114188177, 0.0291671582),
    "SVD": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
}  # fmt: skip


def linspace(first: float, last: float, count: int) -> list[float]:
    """count evenly spaced numbers; the ends are exact, a single one is the first."""
    if count == 1:
        return [first]
    step = (last - first) / (count - 1)
    return [first + step * i for i in range(count - 1)] + [last]


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Sigmas:
    """Karras et al. 2022, eq. 5: evenly spaced in sigma^(1/rho); ends in 0."""
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return (*((high + torch.linspace(0, 1, steps) * (low - high)) ** rho).tolist(), 0.0)


def exponential(steps: int, sigma_min: float, sigma_max: float) -> Sigmas:
    """Evenly spaced in log sigma; ends in 0. Raises ValueError unless sigma_min > 0."""
    low, high = _logs(sigma_min, sigma_max)
    return (*torch.linspace(high, low, steps).exp().tolist(), 0.0)


def polyexponential(steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Sigmas:
    """log sigma follows a power rho of the way that is left; ends in 0. Raises ValueError unless sigma_min > 0."""
    low, high = _logs(sigma_min, sigma_max)
    return (*(torch.linspace(1, 0, steps) ** rho * (high - low) + low).exp().tolist(), 0.0)


def _logs(*sigmas: float) -> list[float]:
    if min(sigmas) <= 0:
        raise ValueError("an exponential schedule needs sigma_min and sigma_max above 0; raise sigma_min")
    return [math.log(sigma) for sigma in sigmas]


def variance_preserving(steps: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 0.001) -> Sigmas:
    """Song et al. 2021's continuous VP schedule in sigma space; ends in 0."""
    times = linspace(1.0, eps_s, steps)
    return (*(math.sqrt(math.expm1(beta_d * t * t / 2 + beta_min * t)) for t in times), 0.0)


def laplace(steps: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5) -> Sigmas:
    """Hang et al. 2024: log SNR with a Laplace distribution. steps values, without a closing 0."""

    def log_sigma(x: float) -> float:
        side = (x < 0.5) - (x > 0.5)  # sign(½ − x)
        return mu - beta * side * math.log(1 - 2 * abs(0.5 - x) + 1e-5)

    return tuple(min(max(math.exp(log_sigma(x)), sigma_min), sigma_max) for x in linspace(0.0, 1.0, steps))


def kl_optimal(steps: int, sigma_min: float, sigma_max: float) -> Sigmas:
    """Sabour et al. 2024, eq. 9: evenly spaced in arctan sigma; ends in 0."""
    angles = linspace(math.atan(sigma_max), math.atan(sigma_min), steps)
    return (*(math.tan(angle) for angle in angles), 0.0)


def linear_quadratic(steps: int, sigma_max: float, threshold: float = 0.025) -> Sigmas:
    """Mochi's schedule: half the steps cover the first 2.5 % linearly, the rest follows a parabola; ends in 0.

    The parabola continues the line's value and slope and reaches 1 at the last step.
    """
    if steps == 1:
        return (sigma_max, 0.0)
    linear_steps = steps // 2
    slope = threshold / linear_steps
    quadratic_steps = steps - linear_steps
    curvature = (1.0 - threshold - slope * quadratic_steps) / quadratic_steps**2
    line = [slope * i for i in range(linear_steps)]
    parabola = [threshold + slope * j + curvature * j * j for j in range(quadratic_steps)]
    return (*((1.0 - progress) * sigma_max for progress in line + parabola), 0.0)


def align_your_steps(steps: int, table: Sequence[float] = ALIGN_YOUR_STEPS["SDXL"]) -> Sigmas:
    """An Align Your Steps table, resampled linearly in log sigma when steps is not ten; its last value becomes 0."""
    if steps + 1 == len(table):
        return (*table[:-1], 0.0)
    logs = [math.log(sigma) for sigma in table]
    positions = linspace(0.0, len(table) - 1.0, steps + 1)[:-1]
    return (*(math.exp(_interpolate(logs, position)) for position in positions), 0.0)


def _interpolate(values: Sequence[float], position: float) -> float:
    low = min(int(position), len(values) - 2)
    share = position - low
    return values[low] * (1 - share) + values[low + 1] * share


def align_your_steps_denoised(model_type: str, steps: int, denoise: float) -> Sigmas:
    """The AlignYourStepsScheduler node: denoise < 1 keeps the last round(steps·denoise)+1 values, 0 keeps none."""
    if denoise <= 0:
        return ()
    total = round(steps * denoise) if denoise < 1 else steps
    return align_your_steps(steps, ALIGN_YOUR_STEPS[model_type])[-(total + 1) :]
