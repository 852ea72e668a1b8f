"""A whole sampling run: noise → schedule → denoise, from latent to latent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.sampling.noise import Policy, brownian_range
from models.sampling.parameterization import parameterization_for
from models.sampling.protocol import Callback, Sampler, ignore_progress
from models.sampling.refine import Refiner, refine
from models.sampling.samplers import find_sampler
from models.sampling.schedules import (
    FALL_BACK_TO_NORMAL,
    MODEL_SCHEDULES,
    cut,
    denoise_schedule,
    round_to_float32,
)
from models.sampling.walk import Conditioning, Latent, Run, execute

if TYPE_CHECKING:
    from models.sdxl import Model

__all__ = ["Conditioning", "Latent", "Refiner", "sample", "sample_custom"]


def sample(
    model: "Model",
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    denoise: float = 1.0,
    policy: Policy = "fooocus",
    start_step: int | None = None,
    end_step: int | None = None,
    add_noise: bool = True,
    force_full_denoise: bool = False,
    legacy_schedules: bool = False,
    refiner: Refiner | None = None,
    callback: Callback = ignore_progress,
) -> Latent:
    """Denoise a LATENT: {"samples": (B, 4, h, w) in the VAE's space, "noise_mask"?, "batch_index"?}.

    seed: 0 … 2^64−1. denoise: 0 … 1, the share of the schedule's noise to start from. policy: whose noise and masking
    conventions. legacy_schedules: run `turbo` and `align_your_steps` on `normal`, as Fooocus does. refiner: a second
    model that takes over at one of the steps, if the run comes so far.
    Returns a LATENT on the CPU, float32. Raises UnknownSampler and UnknownScheduler.
    """
    sampler = find_sampler(sampler_name)
    if scheduler in MODEL_SCHEDULES:
        model = model.patched(schedule=scheduler)
    parameterization = parameterization_for(model.prediction, model.options.schedule)
    walked = "normal" if legacy_schedules and scheduler in FALL_BACK_TO_NORMAL else scheduler
    drop = sampler.drop_penultimate
    sigmas = denoise_schedule(walked, parameterization, steps, denoise, drop_penultimate=drop)
    sigmas = cut(sigmas, start_step, end_step, force_full_denoise)
    if len(sigmas) < 2:
        return dict(latent)
    complete = denoise_schedule(scheduler, parameterization, steps, drop_penultimate=drop)
    brownian = brownian_range(complete if policy == "fooocus" else sigmas)
    run = Run(model, positive, negative, latent, seed, cfg, policy, add_noise, sampler, sigmas, brownian, callback)
    if refiner is not None and refiner.switch < len(sigmas) - 1:
        return {**latent, "samples": refine(run, refiner, steps, scheduler, denoise)}
    return {**latent, "samples": execute(run).samples}


def sample_custom(
    model: "Model",
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    *,
    sampler: Sampler,
    sigmas: Sequence[float],
    seed: int,
    cfg: float,
    add_noise: bool = True,
    policy: Policy = "comfy",
    callback: Callback = ignore_progress,
) -> tuple[Latent, Latent]:
    """Denoise with a given sampler along given sigmas (any descending floats; SIGMAS.tolist()).

    Returns the latent and the model's last estimate of the clean latent; both are the input where no step is run.
    """
    walked = round_to_float32(tuple(float(sigma) for sigma in sigmas))
    if len(walked) < 2:
        return dict(latent), dict(latent)
    brownian = brownian_range(walked)
    run = Run(model, positive, negative, latent, seed, cfg, policy, add_noise, sampler, walked, brownian, callback)
    walked_down = execute(run)
    return {**latent, "samples": walked_down.samples}, {**latent, "samples": walked_down.estimate}
