"""A second model that finishes a picture: Fooocus' refiner (behaviour §4.6), by one of three methods.

| method | how the refiner goes on |
|---|---|
| joint | in the same run, after the first evaluation of the step; samplers keep their memory of earlier steps |
| separate | in a run of its own, from the noisy latent that the first model left |
| vae | in a run of its own, from a finished picture, noised anew; for SD 1.x, whose latents are others, always |
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.control.apply import without_controls
from models.errors import ModelError
from models.interposer import Interposer
from models.sampling.parameterization import parameterization_for
from models.sampling.protocol import Callback
from models.sampling.schedules import MODEL_SCHEDULES, denoise_schedule, round_to_float32
from models.sampling.sigma_curves import Sigmas, align_your_steps_denoised
from models.sampling.walk import Conditioning, Latent, Record, Run, TakeOver, execute

if TYPE_CHECKING:
    from models.sdxl import Clip, Model

Method = Literal["joint", "separate", "vae"]
METHODS: tuple[Method, ...] = get_args(Method)
MORE_NOISE = 1.4  # factor on the sigmas of the "vae" method's second run
TEXT_FACTS = ("pooled_output", "width", "height", "crop_w", "crop_h", "target_width", "target_height")


class UnfitRefiner(ModelError):
    """A refiner that cannot go on where this model stops."""

    code = "unfit_refiner"


@dataclass(frozen=True)
class Refiner:
    """What takes over. switch: the step, from 0. positive, negative: for this model (see `converted`).

    interposer: between the latents of both, where they differ. kept: the picture outside of the mask in the refiner's
    latents, needed by "vae" with a mask. callback: of the refiner's own run; step numbers go on.
    """

    model: "Model"
    positive: Conditioning
    negative: Conditioning
    switch: int
    method: Method = "joint"
    interposer: Interposer | None = None
    kept: Latent | None = None
    callback: Callback | None = None


def converted(conditioning: Conditioning, clip: "Clip", refiner: "Model") -> list[list[Any]]:
    """Turn an SDXL conditioning into one for a refiner: nothing is encoded again, controls are left out (§2.10).

    clip: what encoded it. SDXL's refiner reads the features of bigG, SD 1.x those of CLIP-L behind its final norm.
    """
    plain = without_controls(conditioning)
    if refiner.family == "sdxl":
        return plain
    width = refiner.unet.sizes.context_dim
    if refiner.family == "sdxl_refiner":
        return [[context[..., -width:], facts] for context, facts in plain]
    with torch.inference_mode(), clip.l.use(clip.loras) as encoder:
        norm = encoder.final_layer_norm
        weight, bias = norm.weight.float(), norm.bias.float()
        features = [
            F.layer_norm(context[..., :width].to(weight), (width,), weight, bias, norm.eps) for context, _ in plain
        ]
    without = [{name: fact for name, fact in facts.items() if name not in TEXT_FACTS} for _, facts in plain]
    return [[normed.to("cpu", copy=True), facts] for normed, facts in zip(features, without, strict=True)]


def refine(run: Run, refiner: Refiner, steps: int, scheduler: str, denoise: float) -> Tensor:
    """Execute a run in which the refiner takes over. Returns the latent, of the refiner's kind."""
    if scheduler in MODEL_SCHEDULES:
        refiner = replace(refiner, model=refiner.model.patched(schedule=scheduler))
    other_latents = refiner.model.family == "sd1"
    if other_latents and refiner.interposer is None:
        raise UnfitRefiner(
            "An SD 1.x refiner works on other latents than SDXL.", "Connect an interposer (xl-to-v1_interposer-v4.0)."
        )
    if other_latents or refiner.method == "vae":
        return _swap_latents(run, refiner, steps, scheduler, denoise)
    if refiner.method == "separate":
        return _separately(run, refiner)
    after = TakeOver(refiner.switch, refiner.model, refiner.positive, refiner.negative)
    return execute(replace(run, take_over=after)).samples


def _separately(run: Run, refiner: Refiner) -> Tensor:
    """Two runs on one schedule: noise is left by the first and none is added by the second."""
    switch = refiner.switch
    second = _taken_over(run, refiner, run.sigmas[switch:])
    if switch == 0:
        return execute(second).samples
    first = execute(_until(run, (*run.sigmas[: switch + 1],)))
    latent = {**run.latent, "samples": first.samples}
    kept = run.latent["samples"]
    goes_on = replace(second, latent=latent, kept=kept, add_noise=False, source=first.source, draw=first.draw)
    return execute(goes_on).samples


def _swap_latents(run: Run, refiner: Refiner, steps: int, scheduler: str, denoise: float) -> Tensor:
    """A finished picture, and a second run over it with fresh noise that has the first run's mean per cell."""
    switch, record = refiner.switch, Record()
    samples, draw, mean = run.latent["samples"], None, None
    if switch > 0:
        first = execute(replace(_until(run, (*run.sigmas[:switch], 0.0)), record=record))
        samples = first.samples
        # One Brownian path per picture; all other noise is new.
        draw = first.draw if run.sampler.noise == "brownian" else None
    if record.epsilon is not None:
        mean = record.epsilon.mean(dim=1, keepdim=True).float().cpu()
    if refiner.interposer is not None:
        samples = refiner.interposer.convert(samples)
    schedule = _schedule(refiner.model, scheduler, steps, denoise, run.sampler.drop_penultimate)
    sigmas = round_to_float32(tuple(sigma * MORE_NOISE for sigma in schedule[switch:]))
    second = _taken_over(run, refiner, sigmas)
    kept = (refiner.kept or {"samples": samples if refiner.interposer else run.latent["samples"]})["samples"]
    latent = {**run.latent, "samples": samples}
    return execute(replace(second, latent=latent, kept=kept, seed=run.seed + 1, draw=draw, noise_mean=mean)).samples


def _until(run: Run, sigmas: Sigmas) -> Run:
    """The first model's share; an inpaint engine stays to its end, since the refiner is what makes it give way."""
    engine, options = run.model.options.inpaint, {}
    if engine is not None:
        options = {"inpaint": replace(engine, until=1.0)}
    steps = len(run.sigmas) - 1

    def follow(step: int, _: int, x: Tensor, denoised: Tensor) -> None:
        run.callback(step, steps, x, denoised)

    return replace(run, model=run.model.patched(**options), sigmas=sigmas, callback=follow)


def _taken_over(run: Run, refiner: Refiner, sigmas: Sigmas) -> Run:
    """The refiner's share, with step numbers that go on."""
    before, callback = refiner.switch, refiner.callback or run.callback

    def follow(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
        callback(before + step, before + total, x, denoised)

    return replace(
        run,
        model=refiner.model,
        positive=refiner.positive,
        negative=refiner.negative,
        sigmas=sigmas,
        callback=follow,
    )


def _schedule(model: "Model", scheduler: str, steps: int, denoise: float, drop_penultimate: bool) -> Sigmas:
    if scheduler == "align_your_steps" and model.family == "sd1":
        return round_to_float32(align_your_steps_denoised("SD1", steps, denoise))
    parameterization = parameterization_for(model.prediction, model.options.schedule)
    return denoise_schedule(scheduler, parameterization, steps, denoise, drop_penultimate=drop_penultimate)
