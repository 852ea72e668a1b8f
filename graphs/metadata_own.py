"""What neither scheme of metadata can say of a picture goes into a key of Focal's own, which others pass over.

Which fields that are is found out, not listed: what was written is read back and settled, and where that differs from
what made the picture, the field is written in full. Most pictures need none.
"""

import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from graphs.catalog import Catalog
from graphs.images import ImageText
from graphs.inpaint_choice import chosen_inpaint
from graphs.performance import PERFORMANCES
from graphs.presets import DEFAULT_VAE
from graphs.prompts import clean_line
from graphs.request import GenerationRequest, Refused
from graphs.request_parts import EnhanceStage, Inpaint, Preprocessing
from graphs.resolve import Generation, resolve
from graphs.styles import EXPANSION
from graphs.uov import DISABLED, chosen

Repainting = TypeVar("Repainting", Inpaint, EnhanceStage)

logger = logging.getLogger(__name__)

KEY, PAIR = "focal", "Focal"  # in the JSON of Fooocus, in the text of A1111

REFINER = ("refiner_model", "refiner_switch", "overwrite_switch", "refiner_swap_method")
# Field of a generation → fields of a request that decide it.
DECIDED_BY: dict[str, tuple[str, ...]] = {
    "prompt": ("prompt",),
    "extra_prompts": ("prompt",),
    "negative": ("negative_prompt",),
    "extra_negatives": ("negative_prompt",),
    "styles": ("styles",),
    "expansion": ("styles",),
    "seed": ("seed",),
    "checkpoint": ("base_model",),
    "vae": ("vae",),
    "loras": ("loras",),
    "clip_skip": ("clip_skip",),
    "freeu": ("freeu",),
    "performance": ("performance",),
    "width": ("width",),
    "height": ("height",),
    "steps": ("overwrite_step",),
    "guidance_scale": ("guidance_scale",),
    "sharpness": ("sharpness",),
    "adaptive_cfg": ("adaptive_cfg",),
    "adm_scaler": ("adm_scaler_positive", "adm_scaler_negative", "adm_scaler_end"),
    "refiner": REFINER,
    "refiner_switch": ("refiner_switch",),
    "overwrite_switch": ("overwrite_switch",),
    "sampler": ("sampler",),
    "scheduler": ("scheduler",),
}
# What was done to which pictures; no scheme has words for it.
FLOW = (
    "input_image",
    "uov_method",
    "upscale_value",
    "overwrite_vary_strength",
    "overwrite_upscale_strength",
    "inpaint",
    "image_prompts",
    "preprocessing",
    "enhance",
    "black_out_nsfw",
)
MAIN_FLOW = ("input_image", "uov_method", "inpaint", "image_prompts")  # not run for a picture that is only enhanced
BATCH = ("first_image", "disable_seed_increment", "read_wildcards_in_order")
READ = frozenset((*FLOW, *BATCH)) | {name for names in DECIDED_BY.values() for name in names}


def unsaid(
    said: GenerationRequest | None,
    generation: Generation,
    text: ImageText,
    catalog: Catalog,
    again: GenerationRequest | None = None,
) -> dict[str, Any]:
    """The fields of a request, as JSON values, that have to be added to what was said of a picture.

    again: the request that makes the picture, where its own words and settings are not enough.
    """
    if again is not None:
        missing = {name for name in READ if getattr(again, name) != getattr(said or GenerationRequest(), name)}
        return msgspec.to_builtins({name: getattr(again, name) for name in sorted(missing)})
    meant = one_picture(generation, text)
    missing = {name for name in FLOW if getattr(meant, name) != getattr(said or GenerationRequest(), name)}
    settled = _settled(said, catalog)
    for name, wanted in _wanted(generation, text).items():
        if settled is None or _comparable(name, getattr(settled, name)) != _comparable(name, wanted):
            missing.update(DECIDED_BY[name])
    return msgspec.to_builtins({name: getattr(meant, name) for name in sorted(missing)})


def completed(request: GenerationRequest, own: Any) -> GenerationRequest:
    """A request with the fields of Focal's own key. Anything else in it, or of another type, is left out."""
    if not isinstance(own, Mapping):
        return request
    known = {name: own[name] for name in own if name in READ}
    try:
        found = msgspec.convert(known, GenerationRequest)
    except (msgspec.ValidationError, RecursionError) as error:
        logger.warning("A picture's own key was left out: %s", error)
        return request
    return replace(request, **{name: getattr(found, name) for name in known})


def one_picture(generation: Generation, text: ImageText) -> GenerationRequest:
    """The request that makes one picture again, with everything said and no draw left open."""
    return GenerationRequest(
        prompt=text.prompt or " ",  # an empty one would stand for the preset's
        negative_prompt=text.negative_prompt,
        styles=[*([EXPANSION] if generation.expansion else []), *text.styles],
        seed=text.seed,
        **_settings(generation),
        **_done(generation.request, generation.default_engine),
    )


def of_batch(request: GenerationRequest, place: int, catalog: Catalog) -> GenerationRequest:
    """The request that makes one picture of a batch again by what the batch was asked for, draws left open.

    A stage of enhancing draws its words by the seed of the job, its picture by its own: no single prompt and seed say
    both.
    """
    # LoRAs that the prompt names belong to the prompt; a stage with words of its own goes without them.
    plain = resolve(replace(request, prompt="-"), catalog)[0]
    said = request.prompt and request.prompt.strip()
    main = resolve(request, catalog)[0]
    own = request.enhance is not None and request.enhance.image is not None
    flow = [name for name in FLOW if not own or name not in MAIN_FLOW]
    named = _engines_named(request, main.default_engine)
    return GenerationRequest(
        prompt=said or "\n".join([main.prompt, *main.extra_prompts]) or " ",
        negative_prompt="\n".join([main.negative, *main.extra_negatives]),
        styles=[*([EXPANSION] if plain.expansion else []), *plain.styles],
        seed=main.seed,
        first_image=0 if own else place,
        disable_seed_increment=request.disable_seed_increment,
        read_wildcards_in_order=request.read_wildcards_in_order,
        **_settings(plain),
        **{name: getattr(named, name) for name in flow},
    )


def _engines_named(request: GenerationRequest, engine: str) -> GenerationRequest:
    """The same with the engine of all that repaints."""
    inpaint = request.inpaint and _with_engine(request.inpaint, engine)
    enhance = request.enhance
    if enhance is not None:
        enhance = replace(enhance, stages=[_with_engine(stage, engine) for stage in enhance.stages])
    return replace(request, inpaint=inpaint, enhance=enhance)


def _settings(generation: Generation) -> dict[str, Any]:
    """The fields of a request that say neither words nor seed nor pictures."""
    mode = PERFORMANCES[generation.performance]
    positive, negative, end = generation.adm_scaler
    return {
        "performance": generation.performance,
        "width": generation.width,
        "height": generation.height,
        "image_number": 1,
        "sharpness": generation.sharpness,
        "guidance_scale": generation.guidance_scale,
        "base_model": generation.checkpoint,
        "loras": [lora for lora in generation.loras if not (mode.distilled and mode.distilled.brings(lora.name))],
        "vae": generation.vae or DEFAULT_VAE,
        "clip_skip": generation.clip_skip,
        "sampler": generation.sampler,
        "scheduler": generation.scheduler,
        "adaptive_cfg": generation.adaptive_cfg,
        "adm_scaler_positive": positive,
        "adm_scaler_negative": negative,
        "adm_scaler_end": end,
        "refiner_model": generation.refiner.checkpoint if generation.refiner else "None",
        "refiner_switch": generation.refiner_switch,
        "overwrite_switch": generation.overwrite_switch if generation.refiner else generation.overwrite_switch or None,
        "refiner_swap_method": generation.refiner.method if generation.refiner else "joint",
        "overwrite_step": -1 if generation.steps == mode.steps else generation.steps,
        "freeu": generation.freeu,
    }


def _done(asked: GenerationRequest, engine: str) -> dict[str, Any]:
    """What was done to which pictures; what is there but has no effect is not said. engine: where none was named."""
    repainted = asked.inpaint if chosen(asked) is None and chosen_inpaint(asked, []) else None
    prompts = tuple(prompt for prompt in asked.image_prompts if prompt.weight != 0 and prompt.stop != 0)
    done = {name: getattr(asked, name) for name in FLOW} | {
        "inpaint": repainted and replace(_with_engine(repainted, engine), additional_prompt=""),  # the prompt has it
        "enhance": None,  # of what enhancing makes, `of_batch` says more
        "image_prompts": prompts,
        "preprocessing": asked.preprocessing if prompts else Preprocessing(),
    }
    if chosen(asked) is None:
        picture = asked.input_image if repainted else None
        done |= {"uov_method": DISABLED, "upscale_value": None, "input_image": picture}
        done |= {"overwrite_vary_strength": -1, "overwrite_upscale_strength": -1}
    return done


def _with_engine(repainting: Repainting, engine: str) -> Repainting:
    """Name the engine: another server's presets may have another one."""
    return repainting if repainting.engine is not None else replace(repainting, engine=engine)


def _settled(said: GenerationRequest | None, catalog: Catalog) -> Generation | None:
    if said is None or said.seed is None:
        return None
    try:
        return resolve(said, catalog)[0]
    except Refused:
        return None


def _wanted(generation: Generation, text: ImageText) -> dict[str, Any]:
    """What the fields of the generation must be, for this picture alone."""
    main, *extra = text.prompt.split("\n")
    negative, *extra_negatives = text.negative_prompt.split("\n")
    words = {
        "prompt": main,
        "extra_prompts": extra,
        "negative": negative,
        "extra_negatives": extra_negatives,
        "styles": text.styles,
        "seed": text.seed,
    }
    return {name: words[name] if name in words else getattr(generation, name) for name in DECIDED_BY}


def _comparable(name: str, value: Any) -> Any:
    """Lists of any kind are alike, and so are texts that the tokenizer cannot tell apart."""
    if isinstance(value, str) and name in ("prompt", "negative"):
        return clean_line(value)
    if isinstance(value, list | tuple):
        return [clean_line(item) if isinstance(item, str) and name.startswith("extra") else item for item in value]
    return value
