"""A second model that finishes what the first began, as Fooocus does it."""

from typing import Annotated

from msgspec import Meta

from engine.context import Context
from engine.node import node
from engine.types import Choices, Socket, Widget
from models.interposer import Interposer as InterposerValue
from models.interposer import load_interposer
from models.sampling.refine import Method, Refiner, converted
from models.sampling.run import sample
from nodes.runtime import Runtime, file_identity, model_names
from nodes.sampling import MAX_STEPS, Denoise, FooocusSamplerName, FooocusSchedulerName, Seed
from nodes.sockets import Clip, Conditioning, Latent, Model
from nodes.step_report import StepReport

Interposer = Annotated[InterposerValue, Socket("INTERPOSER")]
InterposerName = Annotated[str, Choices(lambda: model_names("vae_approx"))]


@node(
    "InterposerLoader",
    category="loaders",
    display_name="Load Interposer",
    fingerprint=lambda interposer_name: file_identity("vae_approx", interposer_name),
)
def load_interposer_node(interposer_name: InterposerName, context: Context) -> Interposer:
    """Open a network that turns latents of SDXL into those of SD 1.x."""
    runtime: Runtime = context.runtime
    return load_interposer(runtime.folders.path("vae_approx", interposer_name), runtime.residency)


@node("ConditionRefiner", category="advanced/conditioning", display_name="Condition Refiner")
def condition_refiner(conditioning: Conditioning, clip: Clip, refiner: Model) -> Conditioning:
    """Turn a prompt that SDXL's CLIP encoded into one for a refiner: SDXL's own, SD 1.x, or another SDXL.

    clip: what encoded it. The refiner's own text encoders are not asked. ControlNets are left out.
    """
    return converted(conditioning, clip, refiner)


@node("SampleWithRefiner", category="sampling", display_name="Sample with Refiner")
def sample_with_refiner(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    refiner: Model,
    refiner_positive: Conditioning,
    refiner_negative: Conditioning,
    latent_image: Latent,
    seed: Seed,
    steps: Annotated[int, Meta(ge=1, le=MAX_STEPS), Widget(default=30)],
    cfg: Annotated[float, Meta(ge=0.0, le=100.0), Widget(default=4.0, step=0.1)],
    sampler_name: FooocusSamplerName,
    scheduler: FooocusSchedulerName,
    switch: Annotated[int, Meta(ge=0, le=MAX_STEPS), Widget(default=24)],
    context: Context,
    method: Method = "joint",
    denoise: Denoise = 1.0,
    interposer: Interposer | None = None,
    refiner_latent: Latent | None = None,
) -> Latent:
    """Denoise a latent with one model up to a step, and with a refiner from there, with Fooocus' conventions.

    switch: the step, from 0; with as many steps or fewer the refiner is not used. method: joint goes on within the run,
    after the step's first evaluation; separate begins a run of its own; vae noises a finished picture anew. An SD 1.x
    refiner needs the interposer, always works by vae, and gives latents for its own VAE. refiner_latent: with a mask,
    the picture as the refiner's VAE encodes it.
    """
    takes_over = Refiner(
        refiner,
        refiner_positive,
        refiner_negative,
        switch,
        method,
        interposer,
        refiner_latent,
        StepReport(context, refiner),
    )
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
        refiner=takes_over,
        callback=StepReport(context, model),
    )
