"""The files of a request: which checkpoint, VAE and LoRAs stand for the names it gives (API contract §2.7).

A name that no file answers to is replaced or left out with a warning, as clients of Fooocus expect.
"""

from typing import TypeVar

from graphs.catalog import Catalog
from graphs.names import UnknownName, did_you_mean, find_file
from graphs.performance import Performance
from graphs.presets import DEFAULT_VAE, NO_MODEL, Preset
from graphs.prompts import take_lora_tokens
from graphs.request import GenerationRequest, Lora, Refused

# What the REST documents print as the default checkpoint: it means the installed default, whatever that is.
DOCUMENTED_DEFAULTS = tuple(
    f"juggernautxl_{version}rundiffusion.safetensors" for version in ("version6", "version7", "v6", "v7", "v8")
)
OTHER_FAMILIES = {"sdxl_refiner": "SDXL's refiner", "sd1": "an SD 1.x checkpoint"}
T = TypeVar("T")


def given(value: T | None, default: T) -> T:
    """What the request says, else what the preset says."""
    return default if value is None else value


def installed_checkpoint(request: GenerationRequest, preset: Preset, catalog: Catalog, warnings: list[str]) -> str:
    default = catalog.preset_checkpoint(preset) or catalog.default_checkpoint
    asked = request.base_model
    if asked is not None and asked.strip().casefold() not in NO_MODEL:
        if found := find_file(asked, catalog.checkpoints):
            return _base(found, catalog)
        near = did_you_mean(asked, catalog.offered_checkpoints)
        text = f"There is no checkpoint {asked!r}; {default!r} is used.{near}"
        is_documented = asked.strip().casefold() in DOCUMENTED_DEFAULTS
        warnings.append(text if is_documented else UnknownName("base_model", text))
    elif default and catalog.preset_checkpoint(preset) is None:
        warnings.append(f"The model of preset {preset.name!r}, {preset.base_model!r}, is absent; {default!r} is used.")
    if default is None:
        raise Refused("base_model", "No checkpoint is installed.", "Put one into models/checkpoints.")
    return _base(default, catalog)


def _base(checkpoint: str, catalog: Catalog) -> str:
    """A checkpoint that pictures can begin with. Raises Refused for a refiner and for SD 1.x."""
    family = catalog.family_of(checkpoint)
    if family in OTHER_FAMILIES:
        raise Refused(
            "base_model",
            f"{checkpoint} is {OTHER_FAMILIES[family]}; pictures begin with an SDXL checkpoint.",
            "Choose another base; this one can be the refiner.",
        )
    return checkpoint


def installed_vae(request: GenerationRequest, preset: Preset, catalog: Catalog, warnings: list[str]) -> str | None:
    asked = given(request.vae, preset.vae)
    if asked.strip().casefold() in (*NO_MODEL, DEFAULT_VAE.casefold()):
        return None
    found = find_file(asked, catalog.vaes)
    if found is None:
        near = did_you_mean(asked, catalog.vaes)
        text = f"There is no VAE {asked!r}; the checkpoint's own is used.{near}"
        warnings.append(text if request.vae is None else UnknownName("vae", text))
    return found


def installed_loras(
    request: GenerationRequest,
    preset: Preset,
    mode: Performance,
    main: str,
    checkpoint: str,
    catalog: Catalog,
    warnings: list[str],
) -> tuple[str, list[Lora]]:
    """The prompt without LoRA tokens, and all LoRAs in order: those asked for, from tokens, the mode's own."""
    asked = [lora for lora in given(request.loras, preset.loras) if lora.used]
    if len(asked) > preset.max_loras:
        warnings.append(f"Only the first {preset.max_loras} LoRAs are used; {len(asked)} were given.")
    chosen = []
    for lora in asked[: preset.max_loras]:
        if found := find_file(lora.name, catalog.loras):
            chosen.append(Lora(found, float(lora.weight)))
        else:
            near = did_you_mean(lora.name, catalog.loras)
            text = f"There is no LoRA {lora.name!r}; it was left out.{near}"
            warnings.append(text if request.loras is None else UnknownName("loras", text))
    distilled = mode.distilled
    others = [name for name in catalog.loras if not (distilled and distilled.brings(name))]
    main, loras, unknown = take_lora_tokens(main, chosen, others, preset.max_loras)
    warnings += [
        UnknownName("prompt", f"There is no LoRA {name!r}; its token in the prompt was left out.") for name in unknown
    ]
    if distilled:
        loras.append(Lora(catalog.file_for(distilled.role, "performance", checkpoint), distilled.weight))
    return main, loras
