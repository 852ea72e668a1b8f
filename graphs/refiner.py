"""The refiner of a request: which file, from which step, by which method, and what it has to do (behaviour §4.6)."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal

from msgspec import Struct

from graphs.builder import GraphBuilder, Link, Node
from graphs.catalog import Catalog, is_embedded, is_tiny
from graphs.names import UnknownName, did_you_mean, find_file
from graphs.performance import Performance
from graphs.presets import NO_MODEL, Preset
from graphs.request import GenerationRequest, Lora, Refused

Method = Literal["joint", "separate", "vae"]
METHODS: tuple[Method, ...] = ("joint", "separate", "vae")
NEARLY_ALL = 0.9  # denoise above which an SD 1.x refiner goes on where SDXL stopped
SHARE_POWER = 0.834  # Fooocus': how the share of steps that a refiner gets compares to the share of noise
BASE_ONLY, REFINER_ONLY, BOTH = "base", "refiner", "both"


class Refinement(Struct, frozen=True):
    """A refiner, with nothing left open. switch, upscale_switch: the step from which it works, in upscaling another.

    family: as `Catalog.family_of` says. interposer: the file that leads to its latents, "" where they are the base's.
    """

    checkpoint: str
    family: str
    method: Method
    switch: int
    upscale_switch: int
    interposer: str = ""


class Refining(Struct, frozen=True):
    """A refiner's nodes. vae: where its latents are its own; with the interposer that leads to them."""

    model: Node | Link
    switch: int
    method: Method
    vae: Node | Link | None = None
    interposer: Node | None = None


def chosen_refiner(
    request: GenerationRequest, preset: Preset, mode: Performance, base: str, catalog: Catalog, warnings: list[str]
) -> Refinement | None:
    """The refiner of a request; None for none, one that is not there, the base itself, and in distilled modes.

    Raises Refused for a file that cannot refine this base.
    """
    asked = preset.refiner_model if request.refiner_model is None else request.refiner_model
    if mode.distilled or asked.strip().casefold() in NO_MODEL:
        return None
    found = find_file(asked, catalog.checkpoints)
    if found is None:
        if find_file(asked, [base]) is None:
            text = f"There is no refiner {asked!r}; none is used.{did_you_mean(asked, catalog.checkpoints)}"
            warnings.append(text if request.refiner_model is None else UnknownName("refiner_model", text))
        return None
    if found == base:
        return None
    if is_embedded(found) != is_tiny(base):
        raise Refused(
            "refiner_model",
            f"The refiner {found} does not fit {base}: the embedded tiny models fit each other only.",
            'Choose another one, or "None".',
        )
    share = preset.refiner_switch if request.refiner_switch is None else request.refiner_switch
    overwrite = overwritten_switch(request, preset)
    family = catalog.family_of(found) or "sdxl"
    return Refinement(
        found,
        family,
        _method(request.refiner_swap_method, warnings),
        switch_at(mode.steps, share, overwrite),
        switch_at(mode.upscale_steps, share, overwrite),
        catalog.file_for("interposer", "refiner_model", base) if family == "sd1" else "",
    )


def overwritten_switch(request: GenerationRequest, preset: Preset) -> int:
    """The step that was asked for by number, 0 for none; a fraction counts as the next whole one."""
    asked = preset.overwrite_switch if request.overwrite_switch is None else request.overwrite_switch
    return ceil(max(asked, 0))


def _method(asked: str, warnings: list[str]) -> Method:
    for method in METHODS:
        if asked.strip().casefold() == method:
            return method
    warnings.append(f"There is no refiner swap method {asked!r}; 'joint' is used.{did_you_mean(asked, METHODS)}")
    return "joint"


def switch_at(steps: int, share: float, overwrite: int) -> int:
    """The step to switch at: of the mode's own steps, whatever overwrites their number; halves go to the even one."""
    return overwrite or round(steps * share)


def share_of(refinement: Refinement | None, steps: int, denoise: float) -> str:
    """Who works on a latent with this share of noise: the base, the refiner or both, one after the other."""
    if refinement is None or refinement.switch >= steps:
        return BASE_ONLY
    if refinement.family != "sd1" or denoise > NEARLY_ALL:
        return BOTH
    return BASE_ONLY if denoise > ((steps - refinement.switch) / steps) ** SHARE_POWER else REFINER_ONLY


def load_refiner(
    g: GraphBuilder,
    refinement: Refinement,
    loras: Sequence[Lora],
    patched: Callable[[Node | Link], Node | Link],
) -> Refining:
    """Load a refiner with the LoRAs of the request. patched: adds what guides sampling."""
    loader = g.CheckpointLoaderSimple(ckpt_name=refinement.checkpoint)
    model: Node | Link = loader["MODEL"]
    for lora in loras:
        model = g.LoraLoaderModelOnly(model=model, lora_name=lora.name, strength_model=lora.weight)
    model = patched(model)
    if not refinement.interposer:
        return Refining(model, refinement.switch, refinement.method)
    interposer = g.InterposerLoader(interposer_name=refinement.interposer)
    return Refining(model, refinement.switch, "vae", loader["VAE"], interposer)
