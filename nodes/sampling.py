"""From noise to latents: samplers, and the schedules they walk down."""

from typing import Annotated, Literal

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Widget
from models.sampling.run import sample, sample_custom
from models.sampling.samplers import COMFY_SAMPLERS, FOOOCUS_SAMPLERS, SAMPLERS, find_sampler
from models.sampling.schedules import COMFY_SCHEDULERS, FOOOCUS_SCHEDULERS
from nodes.sockets import Conditioning, Latent, Model, Sampler, Sigmas
from nodes.step_report import StepReport

MAX_SEED = 2**64 - 1
MAX_STEPS = 10_000


def _in_order(*lists: tuple[str, ...], known: dict) -> tuple[str, ...]:
    """Join lists, each name once, without those that are not implemented.

    The order is each interface's own: the first name is what an editor takes when nothing is chosen.
    """
    return tuple(name for name in dict.fromkeys(name for names in lists for name in names) if name in known)


SamplerName = Annotated[str, Choices(_in_order(COMFY_SAMPLERS, FOOOCUS_SAMPLERS, known=SAMPLERS))]
SchedulerName = Annotated[str, Choices(tuple(dict.fromkeys(COMFY_SCHEDULERS + FOOOCUS_SCHEDULERS)))]
FooocusSamplerName = Annotated[str, Choices(_in_order(FOOOCUS_SAMPLERS, COMFY_SAMPLERS, known=SAMPLERS))]
FooocusSchedulerName = Annotated[str, Choices(tuple(dict.fromkeys(FOOOCUS_SCHEDULERS + COMFY_SCHEDULERS)))]

Seed = Annotated[int, Meta(ge=0, le=MAX_SEED), Widget(default=0, extra={"control_after_generate": True})]
Steps = Annotated[int, Meta(ge=1, le=MAX_STEPS), Widget(default=20)]
Cfg = Annotated[float, Meta(ge=0.0, le=100.0), Widget(default=8.0, step=0.1)]
Denoise = Annotated[float, Meta(ge=0.0, le=1.0), Widget(default=1.0, step=0.01)]


@node("KSampler", category="sampling")
def k_sampler(
    model: Model,
    seed: Seed,
    steps: Steps,
    cfg: Cfg,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: Denoise,
    context: Context,
) -> Latent:
    """Denoise a latent with ComfyUI's conventions for noise and schedule.

    cfg: guidance scale; at 1 the negative prompt is not evaluated. denoise: share of the noise to start from.
    """
    return sample(
        model,
        positive,
        negative,
        latent_image,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
        policy="comfy",
        callback=StepReport(context, model),
    )


@node("KSamplerAdvanced", category="sampling", display_name="KSampler (Advanced)")
def k_sampler_advanced(
    model: Model,
    add_noise: Literal["enable", "disable"],
    noise_seed: Seed,
    steps: Steps,
    cfg: Cfg,
    sampler_name: SamplerName,
    scheduler: SchedulerName,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: Annotated[int, Meta(ge=0, le=MAX_STEPS), Widget(default=0)],
    end_at_step: Annotated[int, Meta(ge=0, le=MAX_STEPS), Widget(default=10_000)],
    return_with_leftover_noise: Literal["disable", "enable"],
    context: Context,
) -> Latent:
    """Denoise from one step of a schedule to another; the last step removes all noise unless told to leave it."""
    return sample(
        model,
        positive,
        negative,
        latent_image,
        seed=noise_seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler_name,
        scheduler=scheduler,
        policy="comfy",
        start_step=start_at_step,
        end_step=end_at_step,
        add_noise=add_noise == "enable",
        force_full_denoise=return_with_leftover_noise == "disable",
        callback=StepReport(context, model),
    )


@node("SampleLatent", category="sampling")
def sample_latent(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    seed: Seed,
    steps: Annotated[int, Meta(ge=1, le=MAX_STEPS), Widget(default=30)],
    cfg: Annotated[float, Meta(ge=0.0, le=100.0), Widget(default=4.0, step=0.1)],
    sampler_name: FooocusSamplerName,
    scheduler: FooocusSchedulerName,
    context: Context,
    denoise: Annotated[float, Meta(ge=0.0, le=1.0), Widget(step=0.01)] = 1.0,
) -> Latent:
    """Denoise a latent with Fooocus' conventions for noise and schedule.

    The schedulers lcm, tcd and edm_playground_v2.5 also set how the model's output is read.
    """
    return sample(
        model,
        positive,
        negative,
        latent_image,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler_name=sampler_name,
        scheduler=scheduler,
        denoise=denoise,
        policy="fooocus",
        callback=StepReport(context, model),
    )


@node("SamplerCustom", category="sampling/custom_sampling", outputs=("output", "denoised_output"))
def sampler_custom(
    model: Model,
    add_noise: Annotated[bool, Widget(default=True)],
    noise_seed: Seed,
    cfg: Cfg,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: Sigmas,
    latent_image: Latent,
    context: Context,
) -> tuple[Latent, Latent]:
    """Denoise with a sampler along given sigmas; also returns the model's last estimate of the clean latent."""
    return sample_custom(
        model,
        positive,
        negative,
        latent_image,
        sampler=sampler,
        sigmas=sigmas.tolist(),
        seed=noise_seed,
        cfg=cfg,
        add_noise=add_noise,
        policy="comfy",
        callback=StepReport(context, model),
    )


@node("KSamplerSelect", category="sampling/custom_sampling/samplers")
def select_sampler(sampler_name: SamplerName) -> Sampler:
    """Choose a sampler for SamplerCustom."""
    return find_sampler(sampler_name)
