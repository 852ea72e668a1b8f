"""The files of a request: which checkpoint, VAE and LoRAs stand for the names it gives (API contract §2.7).

A name that no file answers to is replaced or left out with a warning, as clients of Fooocus expect.
"""

from typing import TypeVar

from graphs.catalog import Catalog
from graphs.names import UnknownName, did_you_mean, find_file
from graphs.performance import Performance
from graphs.presets import DEFAULT_VAE, Preset
from graphs.prompts import take_lora_tokens
from graphs.request import GenerationRequest, Lora, Refused

NO_MODEL = ("", "none")
# What the REST documents print as the default checkpoint: it means the installed default, whatever that is.
DOCUMENTED_DEFAULTS = tuple(
    f"juggernautxl_{version}rundiffusion.safetensors" for version in ("version6", "version7", "v6", "v7", "v8")
)
T = TypeVar("T")


def given(value: T | None, default: T) -> T:
    """What the request says, else what the preset says."""
    return default if value is None else value


def installed_checkpoint(request: GenerationRequest, preset: Preset, catalog: Catalog, warnings: list[str]) -> str:
    default = catalog.preset_checkpoint(preset) or catalog.default_checkpoint
    asked = request.base_model
    if asked is not None and asked.strip().casefold() not in NO_MODEL:
        if found := find_file(asked, catalog.checkpoints):
            return found
        near = did_you_mean(asked, catalog.checkpoints)
        text = f"There is no checkpoint {asked!r}; {default!r} is used.{near}"
        is_documented = asked.strip().casefold() in DOCUMENTED_DEFAULTS
        warnings.append(text if is_documented else UnknownName("base_model", text))
    elif default and catalog.preset_checkpoint(preset) is None:
        warnings.append(f"The model of preset {preset.name!r}, {preset.base_model!r}, is absent; {default!r} is used.")
    if default is None:
        raise Refused("base_model", "No checkpoint is installed.", "Put one into models/checkpoints.")
    return default


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
    request: GenerationRequest, preset: Preset, mode: Performance, main: str, catalog: Catalog, warnings: list[str]
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
    own = find_file(mode.distilled.lora, catalog.loras) if mode.distilled else None
    main, loras, unknown = take_lora_tokens(
        main, chosen, [name for name in catalog.loras if name != own], preset.max_loras
    )
    warnings += [
        UnknownName("prompt", f"There is no LoRA {name!r}; its token in the prompt was left out.") for name in unknown
    ]
    if mode.distilled:
        if own is None:
            raise Refused(
                "performance",
                f"{mode.label} needs the LoRA file {mode.distilled.lora}, which is not there.",
                "Put it into models/loras, or choose Speed or Quality.",
            )
        loras.append(Lora(own, mode.distilled.weight))
    return main, loras


def check_refiner(
    request: GenerationRequest, preset: Preset, mode: Performance, catalog: Catalog, warnings: list[str]
) -> None:
    """Refiners cannot be run yet: refuse an installed one that was asked for, go on without one of a preset."""
    asked = given(request.refiner_model, preset.refiner_model)
    base = given(request.base_model, preset.base_model)
    if mode.distilled or asked.strip().casefold() in NO_MODEL or asked == base:
        return
    if find_file(asked, catalog.checkpoints) is None:
        near = did_you_mean(asked, catalog.checkpoints)
        text = f"There is no refiner {asked!r}; none is used.{near}"
        warnings.append(text if request.refiner_model is None else UnknownName("refiner_model", text))
    elif request.refiner_model is None:
        warnings.append(
            f"Preset {preset.name!r} asks for the refiner {asked!r}; Focal has none yet and goes on without."
        )
    else:
        raise Refused("refiner_model", "Focal cannot run a refiner yet.", 'Send refiner_model_name as "None".')
