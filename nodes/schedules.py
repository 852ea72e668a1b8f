"""Lists of sigmas for SamplerCustom: schedules by formula, and cutting and joining them."""

import math
from typing import Annotated, Literal

import torch
from msgspec import Meta

from engine.node import node
from engine.types import Widget
from models.sampling import schedules, sigma_curves
from models.sampling.parameterization import parameterization_for
from models.sampling.sigma_curves import Sigmas as SigmaValues
from nodes.sampling import MAX_STEPS, Denoise, SchedulerName, Steps
from nodes.sockets import Model, Sigmas

CATEGORY = "sampling/custom_sampling/schedulers"
CUTTING = "sampling/custom_sampling/sigmas"

SigmaMax = Annotated[float, Meta(ge=0.0, le=5000.0), Widget(default=14.614642, step=0.01)]
SigmaMin = Annotated[float, Meta(ge=0.0, le=5000.0), Widget(default=0.0291675, step=0.01)]


def _tensor(sigmas: SigmaValues) -> torch.Tensor:
    return torch.tensor(sigmas, dtype=torch.float32)


@node("BasicScheduler", category=CATEGORY)
def basic_schedule(model: Model, scheduler: SchedulerName, steps: Steps, denoise: Denoise) -> Sigmas:
    """List the sigmas of a named schedule for a model."""
    parameterization = parameterization_for(model.prediction, model.options.schedule)
    whole = math.nextafter(1.0, 0.0)  # only a denoise of exactly 1 takes the whole schedule here
    return _tensor(schedules.denoise_schedule(scheduler, parameterization, steps, denoise, full_denoise=whole))


@node("KarrasScheduler", category=CATEGORY)
def karras_schedule(
    steps: Steps,
    sigma_max: SigmaMax,
    sigma_min: SigmaMin,
    rho: Annotated[float, Meta(ge=0.0, le=100.0), Widget(default=7.0, step=0.01)],
) -> Sigmas:
    """Karras et al. 2022: sigmas evenly spaced in sigma^(1/rho)."""
    return _tensor(sigma_curves.karras(steps, sigma_min, sigma_max, rho))


@node("ExponentialScheduler", category=CATEGORY)
def exponential_schedule(steps: Steps, sigma_max: SigmaMax, sigma_min: SigmaMin) -> Sigmas:
    """Sigmas evenly spaced in log sigma."""
    return _tensor(sigma_curves.exponential(steps, sigma_min, sigma_max))


@node("PolyexponentialScheduler", category=CATEGORY)
def polyexponential_schedule(
    steps: Steps,
    sigma_max: SigmaMax,
    sigma_min: SigmaMin,
    rho: Annotated[float, Meta(ge=0.0, le=100.0), Widget(default=1.0, step=0.01)],
) -> Sigmas:
    """Sigmas whose logarithm follows a power of the way that is left."""
    return _tensor(sigma_curves.polyexponential(steps, sigma_min, sigma_max, rho))


@node("AlignYourStepsScheduler", category=CATEGORY)
def align_your_steps(
    model_type: Literal["SD1", "SDXL", "SVD"],
    steps: Annotated[int, Meta(ge=1, le=MAX_STEPS), Widget(default=10)],
    denoise: Denoise,
) -> Sigmas:
    """NVIDIA's tables of sigmas, resampled where steps is not 10."""
    return _tensor(sigma_curves.align_your_steps_denoised(model_type, steps, denoise))


@node("SDTurboScheduler", category=CATEGORY)
def turbo_schedule(
    model: Model, steps: Annotated[int, Meta(ge=1, le=10), Widget(default=1)], denoise: Denoise
) -> Sigmas:
    """The timesteps that SDXL-Turbo was distilled on: 999, 899 ... 99."""
    parameterization = parameterization_for(model.prediction, model.options.schedule)
    return _tensor(schedules.turbo(parameterization, steps, denoise))


@node("VPScheduler", category=CATEGORY)
def variance_preserving_schedule(
    steps: Steps,
    beta_d: Annotated[float, Meta(ge=0.0, le=5000.0), Widget(default=19.9, step=0.01)],
    beta_min: Annotated[float, Meta(ge=0.0, le=5000.0), Widget(default=0.1, step=0.01)],
    eps_s: Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=0.001, step=0.0001)],
) -> Sigmas:
    """The continuous variance-preserving schedule (Song et al. 2021)."""
    return _tensor(sigma_curves.variance_preserving(steps, beta_d, beta_min, eps_s))


@node("LaplaceScheduler", category=CATEGORY)
def laplace_schedule(
    steps: Steps,
    sigma_max: SigmaMax,
    sigma_min: SigmaMin,
    mu: Annotated[float, Meta(ge=-10.0, le=10.0), Widget(default=0.0, step=0.1)],
    beta: Annotated[float, Meta(ge=0.0, le=10.0), Widget(default=0.5, step=0.1)],
) -> Sigmas:
    """Log signal-to-noise ratios with a Laplace distribution; as many sigmas as steps, without a closing 0."""
    return _tensor(sigma_curves.laplace(steps, sigma_min, sigma_max, mu, beta))


@node("BetaSamplingScheduler", category=CATEGORY)
def beta_schedule(
    model: Model,
    steps: Steps,
    alpha: Annotated[float, Meta(ge=0.0, le=50.0), Widget(default=0.6, step=0.01)],
    beta: Annotated[float, Meta(ge=0.0, le=50.0), Widget(default=0.6, step=0.01)],
) -> Sigmas:
    """Timesteps at quantiles of a Beta distribution: dense at both ends."""
    parameterization = parameterization_for(model.prediction, model.options.schedule)
    return _tensor(schedules.beta(parameterization, steps, alpha, beta))


@node("SplitSigmas", category=CUTTING, outputs=("high_sigmas", "low_sigmas"))
def split_sigmas(
    sigmas: Sigmas, step: Annotated[int, Meta(ge=0, le=MAX_STEPS), Widget(default=0)]
) -> tuple[Sigmas, Sigmas]:
    """Cut a schedule in two after a number of steps; both parts contain the sigma of the cut."""
    return sigmas[: step + 1], sigmas[step:]


@node("SplitSigmasDenoise", category=CUTTING, outputs=("high_sigmas", "low_sigmas"))
def split_sigmas_denoise(sigmas: Sigmas, denoise: Denoise) -> tuple[Sigmas, Sigmas]:
    """Cut a schedule so that the second part has this share of the steps."""
    steps = max(len(sigmas) - 1, 0)
    total = round(steps * denoise)
    return sigmas[:-total], sigmas[-(total + 1) :]


@node("FlipSigmas", category=CUTTING)
def flip_sigmas(sigmas: Sigmas) -> Sigmas:
    """Reverse a schedule, to add noise step by step; a 0 in front becomes 0.0001."""
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = 0.0001
    return flipped


@node("SetFirstSigma", category=CUTTING)
def set_first_sigma(
    sigmas: Sigmas, sigma: Annotated[float, Meta(ge=0.0, le=20000.0), Widget(default=136.0, step=0.001)]
) -> Sigmas:
    """Replace the first sigma."""
    changed = sigmas.clone()
    changed[0] = sigma
    return changed
