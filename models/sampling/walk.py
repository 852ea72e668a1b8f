"""One walk down the sigmas with one model, or with one that hands over to another on the way: from latent to latent."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

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
from models.sampling.noise import Policy, generator, initial_noise, sampler_noise
from models.sampling.parameterization import Parameterization, parameterization_for
from models.sampling.protocol import Callback, Denoiser, Noise, Sampler
from models.sampling.schedules import without_repeats
from models.sampling.sigma_curves import Sigmas
from models.sampling.stem import WithStem

if TYPE_CHECKING:
    from models.sdxl import Model

Conditioning = Sequence[Sequence[Any]]
Latent = dict[str, Any]

ACTIVATIONS = 40  # peak memory of a UNet call, in tensors of the latent's size × model channels


@dataclass(frozen=True)
class TakeOver:
    """A model that goes on after the first evaluation of a step, from 0."""

    step: int
    model: "Model"
    positive: Conditioning
    negative: Conditioning


@dataclass
class Record:
    """The noise that a run saw in its last evaluation: (x − denoised) / sigma, in the model's latent space."""

    epsilon: Tensor | None = None


@dataclass(frozen=True)
class Run:
    """What stays the same while a run walks down its sigmas.

    brownian: the range of the Brownian path. cfg, seed, policy: as in `sample`. take_over: by default an inpaint engine
    makes way for the plain model. kept: what stays outside of the latent's mask, where it is not the latent itself.
    source, draw: random numbers that go on from another run's. noise_mean: over the channels, (B, 1, h, w).
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
    take_over: TakeOver | None = None
    kept: Tensor | None = None
    source: torch.Generator | None = None
    draw: Noise | None = None
    noise_mean: Tensor | None = None
    record: Record | None = None

    @property
    def parameterization(self) -> Parameterization:
        return parameterization_for(self.model.prediction, self.model.options.schedule)

    @property
    def latent_format(self) -> LatentFormat:
        return latent_format_for(self.model.options.schedule, self.model.family)


class Walked(NamedTuple):
    """The final latent and the last estimate of the clean one, in the VAE's space; where the random numbers stopped."""

    samples: Tensor
    estimate: Tensor
    source: torch.Generator
    draw: Noise


def execute(run: Run) -> Walked:
    """Execute a run. Latents come back as float32 on the CPU."""
    samples = run.latent["samples"]
    with torch.inference_mode(), ExitStack() as held:
        network = held.enter_context(run.model.use(_working_bytes(run)))
        device = network.emb_weight.device
        source = run.source or generator(run.seed)
        noise = _initial_noise(run, source).to(device, non_blocking=True)
        clean = _enter(run, samples.to(device=device, dtype=torch.float32, non_blocking=True))
        noise, clean = (t.contiguous(memory_format=torch.channels_last) for t in (noise, clean))
        base = _base(run, network, clean, held)
        denoiser = base if run.record is None else Recording(base, run.record)
        denoiser = _mask(run, denoiser, _kept(run, clean), noise)
        x = clean + noise * run.parameterization.noise_scale(run.sigmas[0])
        draw = run.draw or sampler_noise(
            run.sampler, x, run.seed, run.policy, brownian_range=run.brownian, cpu_stream=source
        )
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
    # Plain tensors: inference tensors cannot be changed by later nodes.
    return Walked(result.clone(), estimate.clone(), source, draw)


def _initial_noise(run: Run, source: torch.Generator) -> Tensor:
    shape = run.latent["samples"].shape
    if not run.add_noise:
        return torch.zeros(shape)
    noise = initial_noise(shape, source, run.latent.get("batch_index"))
    return noise if run.noise_mean is None else noise + run.noise_mean - noise.mean(dim=1, keepdim=True)


def _kept(run: Run, clean: Tensor) -> Tensor:
    return clean if run.kept is None else _enter(run, run.kept.to(clean))


def _enter(run: Run, samples: Tensor) -> Tensor:
    """Into the model's latent space; ComfyUI leaves an empty latent alone, which matters where the mean is not 0."""
    if run.policy == "comfy" and not run.latent["samples"].any():
        return samples
    return run.latent_format.to_model(samples)


def _base(run: Run, network: Any, clean: Tensor, held: ExitStack) -> Denoiser:
    """The run's model as a denoiser; where another one takes over, first this one and then that."""
    engine, after = run.model.options.inpaint, run.take_over
    if engine is not None:
        network = WithStem(network, engine.stem)
        if after is None and engine.until < 1:
            after = TakeOver(
                engine.last_step(len(run.sigmas) - 1),
                without_engine(run.model),
                without_controls(run.positive),
                without_controls(run.negative),
            )
    first = _denoiser(run, network, clean)
    if after is None:
        return first

    def then() -> Denoiser:
        held.close()  # memory need not hold both, and weights cannot hold a patch and be without it at once
        finishing = replace(run, model=after.model, positive=after.positive, negative=after.negative)
        return _denoiser(finishing, held.enter_context(after.model.use(_working_bytes(finishing))), clean)

    return Handover(first, after.step, then)


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
        family=run.model.family,
        context_dim=network.sizes.context_dim,
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


class Recording:
    """A denoiser whose last noise is remembered."""

    def __init__(self, inner: Denoiser, record: Record) -> None:
        self.parameterization = inner.parameterization
        self._inner, self._record = inner, record

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self._inner(x, sigma)
        self._record.epsilon = (x - denoised) / sigma
        return denoised

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        denoised, negative = self._inner.with_negative(x, sigma)
        self._record.epsilon = (x - denoised) / sigma
        return denoised, negative


def _working_bytes(run: Run) -> int:
    batch, _, height, width = run.latent["samples"].shape
    channels = run.model.unet.sizes.model_channels
    return 2 * batch * height * width * channels * run.model.unet.dtype.itemsize * ACTIVATIONS
