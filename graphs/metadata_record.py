"""The facts about one image, before they take the form of a scheme (Fooocus behaviour §7.2)."""

from typing import Any

from msgspec import Struct

from graphs.catalog import Catalog
from graphs.images import ImageText
from graphs.presets import DEFAULT_VAE
from graphs.prompts import stem
from graphs.resolve import Generation
from graphs.styles import EXPANSION

# The first word is what readers of these files look for; the second says who wrote it.
VERSION = "Fooocus v2.5.5 (Focal)"


class UsedLora(Struct, frozen=True):
    stem: str
    weight: float
    hash: str


class Record(Struct, frozen=True):
    """`values`: Fooocus's keys in its order, file names as stems. Hashes are "" while unknown."""

    values: dict[str, Any]
    full_prompt: list[str]
    full_negative_prompt: list[str]
    base_model_hash: str
    refined: bool
    refiner_model_hash: str
    loras: list[UsedLora]
    size: tuple[int, int]
    created_by: str
    scheme: str


def record(generation: Generation, text: ImageText, catalog: Catalog, version: str) -> Record:
    """Collect what made an image. Forced settings of a performance mode stand as they were used."""
    loras = [UsedLora(stem(lora.name), lora.weight, catalog.hash_of("loras", lora.name)) for lora in generation.loras]
    refiner = generation.refiner
    return Record(
        values=_values(generation, text, loras, version),
        full_prompt=[*text.positive, *([text.expansion] if text.expansion else [])],
        full_negative_prompt=list(text.negative),
        base_model_hash=catalog.hash_of("checkpoints", generation.checkpoint),
        refined=refiner is not None,
        refiner_model_hash=catalog.hash_of("checkpoints", refiner.checkpoint) if refiner else "",
        loras=loras,
        size=(generation.width, generation.height),
        created_by=generation.created_by,
        scheme=generation.metadata_scheme,
    )


def _values(generation: Generation, text: ImageText, loras: list[UsedLora], version: str) -> dict[str, Any]:
    refiner = generation.refiner
    styles = [*([EXPANSION] if text.expansion else []), *text.styles]
    values: dict[str, Any] = {
        "prompt": text.prompt,
        "negative_prompt": text.negative_prompt,
        "prompt_expansion": text.expansion,
        "styles": str(styles),
        "performance": generation.performance,
        "steps": generation.steps,
        "resolution": str((generation.width, generation.height)),
        "guidance_scale": generation.guidance_scale,
        "sharpness": generation.sharpness,
        "adm_guidance": str(generation.adm_scaler),
        "base_model": stem(generation.checkpoint),
        "refiner_model": stem(refiner.checkpoint) if refiner else "None",
        "refiner_switch": generation.refiner_switch,
    }
    if refiner and generation.overwrite_switch > 0:
        values["overwrite_switch"] = generation.overwrite_switch
    if refiner and refiner.method != "joint":
        values["refiner_swap_method"] = refiner.method
    if generation.adaptive_cfg != generation.default_adaptive_cfg:
        values["adaptive_cfg"] = generation.adaptive_cfg
    if generation.clip_skip > 1:
        values["clip_skip"] = generation.clip_skip
    values |= {
        "sampler": generation.sampler,
        "scheduler": generation.scheduler,
        "vae": stem(generation.vae) if generation.vae else DEFAULT_VAE,
        "seed": str(text.seed),
    }
    if freeu := generation.freeu:
        values["freeu"] = str((freeu.b1, freeu.b2, freeu.s1, freeu.s2))
    values |= {f"lora_combined_{n}": f"{lora.stem} : {lora.weight}" for n, lora in enumerate(loras, 1)}
    return values | {"metadata_scheme": generation.metadata_scheme, "version": version}
