"""A whole sampling run: noise → schedule → denoise, from latent to latent."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from models.control.apply import without_controls
from models.errors import NonFiniteOutput
from models.inpaint.engine import without_engine
from models.sampling import masking
from models.sampling.areas import Area, resize_mask
from models.sampling.conditions import NEGATIVE, POSITIVE, Frame, match_areas, prepare, share_controls
from models.sampling.denoiser import Guidance, GuidedDenoiser, fit_batch
from models.sampling.handover import Handover
from models.sampling.latent_format import LatentFormat, latent_format_for
from models.sampling.noise import Policy, brownian_range, generator, initial_noise, sampler_noise
from models.sampling.parameterization import Parameterization, parameterization_for
from models.sampling.protocol import Callback, Denoiser, Sampler, ignore_progress
from models.sampling.samplers import find_sampler
from models.sampling.schedules import (
    FALL_BACK_TO_NORMAL,
    MODEL_SCHEDULES,
    cut,
    denoise_schedule,
    round_to_float32,
    without_repeats,
)
from models.sampling.sigma_curves import Sigmas
from models.sampling.stem import WithStem

if TYPE_CHECKING:
    from models.sdxl import Model

Conditioning = Sequence[Sequence[Any]]
Latent = dict[str, Any]

ACTIVATIONS = 40  # peak memory of a UNet call, in tensors of the latent's size × model channels


@dataclass(frozen=True)
class Run:
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
    run = Run(model, positive, negative, latent, seed, cfg, policy, add_noise, sampler, sigmas, brownian, callback)
    return {**latent, "samples": _execute(run)[0]}


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
    samples, denoised = _execute(run)
    return {**latent, "samples": samples}, {**latent, "samples": denoised}


def _execute(run: Run) -> tuple[Tensor, Tensor]:
    """Execute a run; returns the final latent and the last estimate, both in the VAE's space, float32 on the CPU."""
    samples = run.latent["samples"]
    with torch.inference_mode(), ExitStack() as held:
        network = held.enter_context(run.model.use(_working_bytes(run)))
        device = network.emb_weight.device
        source = generator(run.seed)
        noise = _initial_noise(run, source).to(device, non_blocking=True)
        clean = _enter(run, samples.to(device=device, dtype=torch.float32, non_blocking=True))
        noise, clean = (t.contiguous(memory_format=torch.channels_last) for t in (noise, clean))
        base = _base(run, network, clean, held)
        denoiser = _mask(run, base, clean, noise)
        x = clean + noise * run.parameterization.noise_scale(run.sigmas[0])
        draw = sampler_noise(run.sampler, x, run.seed, run.policy, brownian_range=run.brownian, cpu_stream=source)
        last = [clean]

        def follow(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
            last[0] = denoised
            run.callback(step, total, x, denoised)
            if isinstance(base, Handover):
                base.after_first_evaluation(step)

        x = run.sampler(denoiser, x, without_repeats(run.sigmas), noise=draw, callback=follow)
        result, estimate = (run.latent_format.to_vae(t).contiguous().cpu() for t in (x, last[0]))
    if not result.isfinite().all():
        raise NonFiniteOutput(
            f"The sampler {run.sampler.name} ended in numbers that are not finite.",
            "Lower cfg, choose another sampler, or run the model in float32.",
        )
    return result.clone(), estimate.clone()  # plain tensors: inference tensors cannot be changed by later nodes


def _initial_noise(run: Run, source: torch.Generator) -> Tensor:
    shape = run.latent["samples"].shape
    if not run.add_noise:
        return torch.zeros(shape)
    return initial_noise(shape, source, run.latent.get("batch_index"))


def _enter(run: Run, samples: Tensor) -> Tensor:
    """Into the model's latent space; ComfyUI leaves an empty latent alone, which matters where the mean is not 0."""
    if run.policy == "comfy" and not run.latent["samples"].any():
        return samples
    return run.latent_format.to_model(samples)


def _base(run: Run, network: Any, clean: Tensor, held: ExitStack) -> Denoiser:
    """The run's model as a denoiser; one with an inpaint engine works with it first and without it at the end."""
    engine = run.model.options.inpaint
    if engine is None:
        return _denoiser(run, network, clean)

    def plain() -> Denoiser:
        held.close()  # the weights cannot hold the patch and be without it at once
        positive, negative = without_controls(run.positive), without_controls(run.negative)
        finishing = replace(run, model=without_engine(run.model), positive=positive, negative=negative)
        return _denoiser(finishing, held.enter_context(finishing.model.use(_working_bytes(run))), clean)

    first = _denoiser(run, WithStem(network, engine.stem), clean)
    return Handover(first, engine.last_step(len(run.sigmas) - 1), plain)


def _denoiser(run: Run, network: Any, clean: Tensor) -> GuidedDenoiser:
    options = run.model.options
    scale, adaptive = options.size_scale, options.guidance
    frame = Frame(
        height=clean.shape[2],
        width=clean.shape[3],
        adm_channels=network.sizes.adm_channels,
        parameterization=run.parameterization,
        device=clean.device,
        dtype=network.emb_weight.dtype,
    )
    positive = prepare(POSITIVE, run.positive, frame, scale.positive if scale else None)
    negative = prepare(NEGATIVE, run.negative, frame, scale.negative if scale else None)
    positive, negative = match_areas(positive, negative), match_areas(negative, positive)
    negative = share_controls(negative, positive, Area(frame.height, frame.width, 0, 0))
    guidance = Guidance(run.cfg, size_scale_end=scale.end if scale else None)
    if adaptive is not None:
        guidance = replace(guidance, adaptive_cfg=adaptive.adaptive_cfg, sharpness=adaptive.sharpness)
    return GuidedDenoiser(
        network,
        run.parameterization,
        negative + positive,
        guidance,
        batch=len(clean),
        freeu=options.freeu,
        model=run.model,
        image_prompts=options.image_prompts,
    )


def _mask(run: Run, denoiser: Denoiser, clean: Tensor, noise: Tensor) -> Denoiser:
    mask = run.latent.get("noise_mask")
    if mask is None:
        return denoiser
    mask = resize_mask(mask, *clean.shape[2:]).to(clean.device, non_blocking=True)
    mask = mask if len(mask) == 1 else fit_batch(mask, len(clean))
    if run.policy == "fooocus":
        kept = masking.fresh(clean, run.seed)
    elif run.sampler.second_masking_noise:
        kept = masking.constant(initial_noise(clean.shape, generator(run.seed + 1)).to(clean))
    else:
        kept = masking.constant(noise)
    return masking.MaskedDenoiser(denoiser, mask, clean, kept)


def _working_bytes(run: Run) -> int:
    batch, _, height, width = run.latent["samples"].shape
    channels = run.model.unet.sizes.model_channels
    return 2 * batch * height * width * channels * run.model.unet.dtype.itemsize * ACTIVATIONS
