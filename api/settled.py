"""A request with nothing left open, as it was carried out: kept with every job, so that each contract can tell of it.

What was not given has the preset's value, names are those that were used, and files lie in the input folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from engine.jobs.job import Job
from graphs.catalog import Catalog
from graphs.image_prompts import DEFAULTS
from graphs.names import find_file, find_folded
from graphs.presets import DEFAULT_VAE, Preset
from graphs.request import SAMPLERS, SCHEDULERS, GenerationRequest, Lora
from graphs.request_parts import Enhance, ImagePrompt, Inpaint
from graphs.save import Compiled

KEY = "asked"  # in the job's `request`


def settled(asked: GenerationRequest, made: Compiled, catalog: Catalog) -> GenerationRequest:
    """What was asked, with what compiling made of the rest."""
    preset = (catalog.preset(asked.preset) if asked.preset else None) or catalog.preset_in_force
    used = made.generation
    open_numbers = ("image_number", "sharpness", "guidance_scale", "refiner_switch", "adaptive_cfg", "clip_skip")
    numbers = {name: _given(getattr(asked, name), getattr(preset, name)) for name in open_numbers}
    return replace(
        asked,
        **numbers,
        preset=None,
        prompt=asked.prompt or preset.prompt,
        negative_prompt=_given(asked.negative_prompt, preset.negative_prompt),
        styles=[found for name in _given(asked.styles, preset.styles) if (found := catalog.styles.find(name))],
        performance=used.performance,
        width=_given(asked.width, preset.size[0]),
        height=_given(asked.height, preset.size[1]),
        base_model=used.checkpoint,
        refiner_model=used.refiner.checkpoint if used.refiner else "None",
        loras=_loras(_given(asked.loras, preset.loras), preset.max_loras, catalog),
        vae=used.vae or DEFAULT_VAE,
        sampler=find_folded(asked.sampler or "", SAMPLERS) or preset.sampler,
        scheduler=find_folded(asked.scheduler or "", SCHEDULERS) or preset.scheduler,
        overwrite_step=_above_zero(_given(asked.overwrite_step, preset.overwrite_step)),
        overwrite_switch=_above_zero(_given(asked.overwrite_switch, preset.overwrite_switch)),
        inpaint=asked.inpaint and _with_engine(asked.inpaint, preset),
        image_prompts=[_with_numbers(prompt) for prompt in asked.image_prompts],
        enhance=asked.enhance and _with_engines(asked.enhance, preset),
        save_extension=used.save_extension,
        save_metadata=used.save_metadata,
        metadata_scheme=used.metadata_scheme,
    )


def kept(request: GenerationRequest) -> dict[str, Any]:
    """A request for the job's record."""
    return {KEY: msgspec.to_builtins(request)}


def request_of(job: Job) -> GenerationRequest | None:
    """The request of a job; None for a graph that somebody posted."""
    found = job.request.get(KEY) if isinstance(job.request, Mapping) else None
    return msgspec.convert(found, GenerationRequest) if found else None


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _above_zero(number: Any) -> Any:
    return number if number > 0 else None


def _loras(asked: Sequence[Lora], most: int, catalog: Catalog) -> list[Lora]:
    used = [lora for lora in asked if lora.used][:most]
    return [replace(lora, name=file) for lora in used if (file := find_file(lora.name, catalog.loras))]


def _with_numbers(prompt: ImagePrompt) -> ImagePrompt:
    stop, weight = DEFAULTS[prompt.type]
    return replace(prompt, stop=_given(prompt.stop, stop), weight=_given(prompt.weight, weight))


def _with_engine(inpaint: Inpaint, preset: Preset) -> Inpaint:
    return replace(inpaint, engine=inpaint.engine or preset.inpaint_engine_version)


def _with_engines(enhance: Enhance, preset: Preset) -> Enhance:
    engine = preset.inpaint_engine_version
    return replace(enhance, stages=[replace(stage, engine=stage.engine or engine) for stage in enhance.stages])
