"""Which fields a named preset fills: those not given, and those that say no more than their default.

Clients send every field with its default, so a value equal to the default counts as not given (FooocusAPI's rule).
"""

from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from api.contracts.fooocusapi.schemas import CommonRequest
from api.neutral import DEFAULT_ENGINE
from graphs.catalog import Catalog
from graphs.presets import NO_PRESET, Preset
from graphs.sizes import parse_aspect_ratio

DEFAULTS: dict[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "style_selections": ["Fooocus V2", "Fooocus Enhance", "Fooocus Sharp"],
    "performance_selection": "Speed",
    "aspect_ratios_selection": "1152*896",
    "sharpness": 2.0,
    "guidance_scale": 4.0,
    "base_model_name": "juggernautXL_v8Rundiffusion.safetensors",
    "refiner_model_name": "None",
    "refiner_switch": 0.5,
    "loras": [("sd_xl_offset_example-lora_1.0.safetensors", 0.1)],
    "sampler_name": "dpmpp_2m_sde_gpu",
    "scheduler_name": "karras",
    "vae_name": "Default (model)",
}
"""The documented default of every field that a preset covers, but for those of `left_open`."""


def chosen_preset(body: CommonRequest, catalog: Catalog) -> Preset | None:
    """The preset that a body names; None for `initial` and for an unknown one."""
    name = body.preset.strip()
    return None if name.casefold() in ("", NO_PRESET) else catalog.preset(name)


def without_defaults(body: CommonRequest) -> CommonRequest:
    """The body with every covered field not given that equals its default: the preset fills it."""
    same = [name for name, default in DEFAULTS.items() if _plain(name, getattr(body, name)) == _plain(name, default)]
    return replace(body, **dict.fromkeys(same, UNSET))


def values(preset: Preset) -> dict[str, Any]:
    """What a preset says, in the words of this contract."""
    width, height = preset.size
    return {
        "prompt": preset.prompt,
        "negative_prompt": preset.negative_prompt,
        "style_selections": list(preset.styles),
        "performance_selection": preset.performance,
        "aspect_ratios_selection": f"{width}*{height}",
        "sharpness": preset.sharpness,
        "guidance_scale": preset.guidance_scale,
        "base_model_name": preset.base_model,
        "refiner_model_name": preset.refiner_model,
        "refiner_switch": preset.refiner_switch,
        "loras": [
            {"enabled": lora.enabled, "model_name": lora.name, "weight": lora.weight}
            for lora in preset.loras
            if lora.used
        ],
        "sampler_name": preset.sampler,
        "scheduler_name": preset.scheduler,
        "vae_name": preset.vae,
        "image_number": preset.image_number,
        "output_format": preset.output_format,
        "save_metadata_to_images": preset.save_metadata,
        "metadata_scheme": preset.metadata_scheme,
        "clip_skip": preset.clip_skip,
        "adaptive_cfg": preset.adaptive_cfg,
        "overwrite_step": preset.overwrite_step,
        "overwrite_switch": preset.overwrite_switch,
        "inpaint_engine": preset.inpaint_engine_version,
    }


def left_open(body: CommonRequest) -> list[str]:
    """The fields with a default that means "the preset's", where they have it."""
    is_open = {
        "overwrite_step": body.overwrite_step <= 0,
        "overwrite_switch": body.overwrite_switch <= 0,
        "inpaint_engine": body.inpaint_engine == DEFAULT_ENGINE,
    }
    return [name for name, left in is_open.items() if left]


def _plain(name: str, value: Any) -> Any:
    """A value in a form that can be compared: sizes as numbers, LoRAs as those that do something."""
    if isinstance(value, UnsetType):
        return value
    if name == "aspect_ratios_selection":
        return parse_aspect_ratio(value)
    if name == "loras":
        return [
            entry if isinstance(entry, tuple) else (entry.model_name, entry.weight)
            for entry in value
            if isinstance(entry, tuple) or (entry.enabled and entry.model_name not in ("", "None"))
        ]
    return value.strip().casefold() if isinstance(value, str) else value
