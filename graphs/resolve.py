"""From what was asked to what will be done: presets, performance modes, sizes, sampling (Fooocus behaviour §1).

The result is complete; every choice that differs from the request is named in the warnings.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.installed import given, installed_checkpoint, installed_loras, installed_vae
from graphs.names import UnknownName, did_you_mean, find_folded
from graphs.performance import PERFORMANCES, Performance, performance
from graphs.presets import Preset
from graphs.prompts import split_lines
from graphs.refiner import Refinement, chosen_refiner, overwritten_switch
from graphs.request import MAX_SEED, SAMPLERS, SCHEDULERS, FreeU, GenerationRequest, Lora, Refused
from graphs.sizes import check_size
from graphs.styles import EXPANSION


class Generation(Struct, frozen=True, kw_only=True):
    """Everything that decides the pictures, with nothing left open. Files are names as the catalog lists them."""

    request: GenerationRequest  # what was asked; flows read from it what they do to which pictures
    prompt: str
    extra_prompts: Sequence[str]
    negative: str
    extra_negatives: Sequence[str]
    styles: Sequence[str]
    expansion: str  # the language model that adds to the prompt, "" for none
    image_number: int
    first_image: int
    seed: int
    seed_increment: bool
    wildcards_in_order: bool

    checkpoint: str
    vae: str | None
    loras: Sequence[Lora]
    clip_skip: int
    freeu: FreeU | None
    refiner: Refinement | None

    performance: str
    width: int
    height: int
    steps: int
    upscale_steps: int
    guidance_scale: float
    sharpness: float
    adaptive_cfg: float
    default_adaptive_cfg: float
    adm_scaler: tuple[float, float, float]
    default_engine: str  # of inpainting, where a request names none
    sampler: str
    scheduler: str
    refiner_switch: float
    overwrite_switch: int  # the step, of a refiner or an inpaint engine; 0: the share decides, or nothing switches

    save_extension: str
    save_name: str
    save_folder: str
    save_by_time: bool
    save_metadata: bool
    metadata_scheme: str
    created_by: str
    preview: bool

    def seed_of(self, index: int) -> int:
        """The seed of image `index`: seeds follow each other and wrap after 2**63 − 1."""
        return (self.seed + (index if self.seed_increment else 0)) % (MAX_SEED + 1)

    def upscaling(self) -> "Generation":
        """The same with the steps that a mode gives to upscaling."""
        refiner = self.refiner and replace(self.refiner, switch=self.refiner.upscale_switch)
        return replace(self, steps=self.upscale_steps, refiner=refiner)


def resolve(request: GenerationRequest, catalog: Catalog) -> tuple[Generation, list[str]]:
    """Settle a request against a preset and what is installed. Returns the generation and warnings for the caller.

    An unknown style, LoRA, sampler, model … is replaced or left out with a warning, as clients of Fooocus expect; what
    cannot be done at all raises Refused.
    """
    request.check_limits()
    seed = request.seed
    if seed is None:
        raise Refused("seed", "The request has no seed yet.", "Call request.seeded() before compiling it.")
    warnings: list[str] = []
    preset = _preset(request, catalog, warnings)
    mode = _performance(request, preset, warnings)
    main, extra = split_lines(given(request.prompt, "") or preset.prompt)
    checkpoint = installed_checkpoint(request, preset, catalog, warnings)
    main, loras = installed_loras(request, preset, mode, main, checkpoint, catalog, warnings)
    width, height = _size(request, preset)
    refiner = chosen_refiner(request, preset, mode, checkpoint, catalog, warnings)
    switches = refiner is not None or request.inpaint is not None or request.enhance is not None
    generation = Generation(
        request=request,
        **_words(request, preset, main, extra, checkpoint, catalog, warnings),
        image_number=_image_number(request, preset),
        first_image=request.first_image,
        seed=seed,
        seed_increment=not request.disable_seed_increment,
        checkpoint=checkpoint,
        vae=installed_vae(request, preset, catalog, warnings),
        loras=loras,
        clip_skip=given(request.clip_skip, preset.clip_skip),
        freeu=request.freeu,
        default_engine=preset.inpaint_engine_version,
        refiner=refiner,
        overwrite_switch=overwritten_switch(request, preset) if switches else 0,
        width=width,
        height=height,
        **_sampling(request, preset, mode, warnings),
        **_saving(request, preset, catalog, warnings),
    )
    return generation, warnings


def _words(
    request: GenerationRequest,
    preset: Preset,
    main: str,
    extra: list[str],
    checkpoint: str,
    catalog: Catalog,
    warnings: list[str],
) -> dict[str, Any]:
    """Prompt, negative and styles; expansion only where there is a prompt and a model for it."""
    negative, extra_negatives = split_lines(given(request.negative_prompt, preset.negative_prompt))
    styles, expand = _styles(given(request.styles, preset.styles), catalog, warnings)
    expansion = catalog.expansion(checkpoint) if expand and main else None
    if expand and main and expansion is None:
        warnings.append(f"{EXPANSION} was left out: no prompt-expansion model is installed.")
    return {
        "prompt": main,
        "extra_prompts": extra,
        "negative": negative,
        "extra_negatives": extra_negatives,
        "styles": styles,
        "expansion": expansion or "",
        "wildcards_in_order": request.read_wildcards_in_order,
    }


def _image_number(request: GenerationRequest, preset: Preset) -> int:
    """How many pictures; a server may allow fewer than the contracts do."""
    most = preset.max_image_number
    number = min(preset.image_number, most) if request.image_number is None else request.image_number
    if number > most:
        raise Refused("image_number", f"image_number is {number}.", f"This server makes at most {most} at a time.")
    return number


def _saving(request: GenerationRequest, preset: Preset, catalog: Catalog, warnings: list[str]) -> dict[str, Any]:
    """How the pictures leave: file names and formats, metadata, previews on the way."""
    if request.save_metadata and not catalog.write_metadata:
        warnings.append("This server writes no parameters into pictures (--disable-metadata).")
    return {
        "save_extension": given(request.save_extension, preset.output_format),
        "save_name": request.save_name,
        "save_folder": request.save_folder,
        "save_by_time": request.save_by_time,
        "save_metadata": given(request.save_metadata, preset.save_metadata) and catalog.write_metadata,
        "metadata_scheme": given(request.metadata_scheme, preset.metadata_scheme),
        "created_by": given(request.created_by, preset.created_by),
        "preview": not request.disable_preview,
    }


def _preset(request: GenerationRequest, catalog: Catalog, warnings: list[str]) -> Preset:
    if request.preset is None:
        return catalog.preset_in_force
    found = catalog.preset(request.preset)
    if found is None:
        near = did_you_mean(request.preset, catalog.presets)
        text = f"There is no preset {request.preset!r}; the default one is used.{near}"
        warnings.append(UnknownName("preset", text))
    return found or catalog.preset_in_force


def _performance(request: GenerationRequest, preset: Preset, warnings: list[str]) -> Performance:
    label = given(request.performance, preset.performance)
    mode = performance(label)
    if mode is None:
        text = f"There is no performance mode {label!r}; Speed is used.{did_you_mean(label, PERFORMANCES)}"
        warnings.append(UnknownName("performance", text))
    return mode or PERFORMANCES["Speed"]


def _styles(asked: Sequence[str], catalog: Catalog, warnings: list[str]) -> tuple[list[str], bool]:
    """The known styles in the order given, and whether prompt expansion is among them."""
    styles = []
    for name in asked:
        found = catalog.styles.find(name)
        if found is None:
            near = did_you_mean(name, catalog.styles.names)
            warnings.append(UnknownName("styles", f"There is no style {name!r}; it was left out.{near}"))
        else:
            styles.append(found)
    return [name for name in styles if name != EXPANSION], EXPANSION in styles


def _size(request: GenerationRequest, preset: Preset) -> tuple[int, int]:
    width, height = preset.size
    width = request.overwrite_width if request.overwrite_width > 0 else given(request.width, width)
    height = request.overwrite_height if request.overwrite_height > 0 else given(request.height, height)
    return check_size(width, height)


def _sampling(request: GenerationRequest, preset: Preset, mode: Performance, warnings: list[str]) -> dict[str, Any]:
    """The numbers of the denoise loop; a distilled mode forces its own."""
    overwrite = given(request.overwrite_step, preset.overwrite_step)
    common = {
        "performance": mode.label,
        "steps": overwrite if overwrite > 0 else mode.steps,
        "upscale_steps": overwrite if overwrite > 0 else mode.upscale_steps,
        "default_adaptive_cfg": float(preset.adaptive_cfg),
    }
    if mode.distilled:
        return common | {
            "sampler": mode.distilled.sampler,
            "scheduler": mode.distilled.scheduler,
            "sharpness": 0.0,
            "guidance_scale": 1.0,
            "adaptive_cfg": 1.0,
            "adm_scaler": (1.0, 1.0, 0.0),
            "refiner_switch": 1.0,
        }
    return common | {
        "sampler": _listed("sampler", request.sampler, preset.sampler, SAMPLERS, warnings),
        "scheduler": _listed("scheduler", request.scheduler, preset.scheduler, SCHEDULERS, warnings),
        "sharpness": float(given(request.sharpness, preset.sharpness)),
        "guidance_scale": float(given(request.guidance_scale, preset.guidance_scale)),
        "adaptive_cfg": float(given(request.adaptive_cfg, preset.adaptive_cfg)),
        "adm_scaler": tuple(
            float(number)
            for number in (request.adm_scaler_positive, request.adm_scaler_negative, request.adm_scaler_end)
        ),
        "refiner_switch": float(given(request.refiner_switch, preset.refiner_switch)),
    }


def _listed(kind: str, asked: str | None, default: str, names: Sequence[str], warnings: list[str]) -> str:
    """A sampler or scheduler by name; the documented word `default_sampler` means the default."""
    if asked is None or asked in ("", f"default_{kind}"):
        return default
    found = find_folded(asked, names)
    if found is None:
        text = f"There is no {kind} {asked!r}; {default!r} is used.{did_you_mean(asked, names)}"
        warnings.append(UnknownName(kind, text))
    return found or default
