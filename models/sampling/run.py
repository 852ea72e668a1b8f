"""A whole sampling run: noise → schedule → denoise, from latent to latent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.sampling import masking
from models.sampling.conditions import NEGATIVE, POSITIVE, Frame, match_areas, prepare, resize_mask
from models.sampling.denoiser import Guidance, GuidedDenoiser, fit_batch
from models.sampling.latent_format import LatentFormat, latent_format_for
from models.sampling.noise import Policy, brownian_range, generator, initial_noise, sampler_noise
from models.sampling.parameterization import Parameterization, parameterization_for
from models.sampling.protocol import Callback, Denoiser, Sampler, ignore_progress
from models.sampling.samplers import find_sampler
from models.sampling.schedules import FALL_BACK_TO_NORMAL, MODEL_SCHEDULES, cut, denoise_schedule, round_to_float32
from models.sampling.sigma_curves import Sigmas

if TYPE_CHECKING:
    from models.sdxl import Model

Conditioning = Sequence[Sequence[Any]]
Latent = dict[str, Any]

ACTIVATIONS = 40  # peak memory of a UNet call, in tensors of the latent's size × model channels


@dataclass(frozen=True)
class Job:
    """What stays the same while a run walks down its sigmas.

    brownian: the range of the Brownian path. cfg, seed, policy: as in `sample`.
    """

    model: "Model"
    positive: Conditioning
    negative: Conditioning
    latent: Latent
    seed: int
    cfg: float
    policy: Policy
    add_noise: bool
    sampler: Sampler
    sigmas: Sigmas
    brownian: tuple[float, float]
    callback: Callback

    @property
    def parameterization(self) -> Parameterization:
        return parameterization_for(self.model.prediction, self.model.options.schedule)

    @property
    def latent_format(self) -> LatentFormat:
        return latent_format_for(self.model.options.schedule)


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
    callback: Callback = ignore_progress,
) -> Latent:
    """Denoise a LATENT: {"samples": (B, 4, h, w) in the VAE's space, "noise_mask"?, "batch_index"?}.

    seed: 0 … 2^64−1. denoise: 0 … 1, the share of the schedule's noise to start from. policy: whose noise and masking
    conventions. legacy_schedules: run `turbo` and `align_your_steps` on `normal`, as Fooocus does.
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
    job = Job(model, positive, negative, latent, seed, cfg, policy, add_noise, sampler, sigmas, brownian, callback)
    return {**latent, "samples": _run(job)[0]}


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
    job = Job(model, positive, negative, latent, seed, cfg, policy, add_noise, sampler, walked, brownian, callback)
    samples, denoised = _run(job)
    return {**latent, "samples": samples}, {**latent, "samples": denoised}


def _run(job: Job) -> tuple[Tensor, Tensor]:
    """Run a job; returns the final latent and the last estimate, both in the VAE's space, float32 on the CPU."""
    samples = job.latent["samples"]
    with torch.inference_mode(), job.model.use(_working_bytes(job)) as network:
        device = network.emb_weight.device
        source = generator(job.seed)
        noise = _initial_noise(job, source).to(device, non_blocking=True)
        clean = _enter(job, samples.to(device=device, dtype=torch.float32, non_blocking=True))
        noise, clean = (t.contiguous(memory_format=torch.channels_last) for t in (noise, clean))
        denoiser = _mask(job, _denoiser(job, network, clean), clean, noise)
        x = clean + noise * job.parameterization.noise_scale(job.sigmas[0])
        draw = sampler_noise(job.sampler, x, job.seed, job.policy, brownian_range=job.brownian, cpu_stream=source)
        last = [clean]

        def follow(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
            last[0] = denoised
            job.callback(step, total, x, denoised)

        x = job.sampler(denoiser, x, job.sigmas, noise=draw, callback=follow)
        result, estimate = (job.latent_format.to_vae(t).contiguous().cpu() for t in (x, last[0]))
    return result.clone(), estimate.clone()  # plain tensors: inference tensors cannot be changed by later nodes


def _initial_noise(job: Job, source: torch.Generator) -> Tensor:
    shape = job.latent["samples"].shape
    if not job.add_noise:
        return torch.zeros(shape)
    return initial_noise(shape, source, job.latent.get("batch_index"))


def _enter(job: Job, samples: Tensor) -> Tensor:
    """Into the model's latent space; ComfyUI leaves an empty latent alone, which matters where the mean is not 0."""
    if job.policy == "comfy" and not job.latent["samples"].any():
        return samples
    return job.latent_format.to_model(samples)


def _denoiser(job: Job, network: Any, clean: Tensor) -> GuidedDenoiser:
    options = job.model.options
    scale, adaptive = options.size_scale, options.guidance
    frame = Frame(
        height=clean.shape[2],
        width=clean.shape[3],
        adm_channels=network.sizes.adm_channels,
        parameterization=job.parameterization,
        device=clean.device,
        dtype=network.emb_weight.dtype,
    )
    positive = prepare(POSITIVE, job.positive, frame, scale.positive if scale else None)
    negative = prepare(NEGATIVE, job.negative, frame, scale.negative if scale else None)
    positive, negative = match_areas(positive, negative), match_areas(negative, positive)
    guidance = Guidance(job.cfg, size_scale_end=scale.end if scale else None)
    if adaptive is not None:
        guidance = replace(guidance, adaptive_cfg=adaptive.adaptive_cfg, sharpness=adaptive.sharpness)
    return GuidedDenoiser(
        network, job.parameterization, negative + positive, guidance, batch=len(clean), freeu=options.freeu
    )


def _mask(job: Job, denoiser: GuidedDenoiser, clean: Tensor, noise: Tensor) -> Denoiser:
    mask = job.latent.get("noise_mask")
    if mask is None:
        return denoiser
    mask = resize_mask(mask, *clean.shape[2:]).to(clean.device, non_blocking=True)
    mask = mask if len(mask) == 1 else fit_batch(mask, len(clean))
    if job.policy == "fooocus":
        kept = masking.fresh(clean, job.seed)
    elif job.sampler.second_masking_noise:
        kept = masking.constant(initial_noise(clean.shape, generator(job.seed + 1)).to(clean))
    else:
        kept = masking.constant(noise)
    return masking.MaskedDenoiser(denoiser, mask, clean, kept)


def _working_bytes(job: Job) -> int:
    batch, _, height, width = job.latent["samples"].shape
    channels = job.model.unet.sizes.model_channels
    return 2 * batch * height * width * channels * job.model.unet.dtype.itemsize * ACTIVATIONS
