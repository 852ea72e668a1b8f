"""Presets: named defaults in Fooocus's preset file format, which loads unchanged (Fooocus behaviour §1.7)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from graphs.names import find_folded
from graphs.performance import performance
from graphs.request import SAMPLERS, SCHEDULERS, Lora, Refused
from graphs.sizes import ASPECT_RATIOS, parse_aspect_ratio

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "presets"
NO_PRESET = "initial"  # Fooocus's word for "no preset".
DEFAULT_VAE = "Default (model)"
NO_MODEL = ("", "none")  # names of no model, whatever their case


class Preset(Struct, frozen=True, kw_only=True):
    """What a request takes when it does not say. The defaults here are Fooocus's own hard-coded ones (§1.3)."""

    name: str = NO_PRESET
    base_model: str = "model.safetensors"
    previous_default_models: tuple[str, ...] = ()
    refiner_model: str = "None"
    refiner_switch: float = 0.8
    loras: tuple[Lora, ...] = ()
    loras_min_weight: float = -2.0
    loras_max_weight: float = 2.0
    max_loras: int = 5
    guidance_scale: float = 7.0
    sharpness: float = 2.0
    adaptive_cfg: float = 7.0
    clip_skip: int = 2
    sampler: str = "dpmpp_2m_sde_gpu"
    scheduler: str = "karras"
    overwrite_step: int = -1
    overwrite_switch: float = -1
    performance: str = "Speed"
    image_number: int = 1  # Fooocus's desktop makes 2; both REST contracts make 1.
    max_image_number: int = 32
    prompt: str = ""
    negative_prompt: str = ""
    styles: tuple[str, ...] = ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp")
    aspect_ratio: str = "1152*896"
    available_aspect_ratios: tuple[str, ...] = ASPECT_RATIOS
    output_format: str = "png"
    save_metadata: bool = True
    metadata_scheme: str = "fooocus"
    created_by: str = ""
    vae: str = DEFAULT_VAE
    inpaint_engine_version: str = "v2.6"
    checkpoint_downloads: dict[str, str] = field(default_factory=dict)
    lora_downloads: dict[str, str] = field(default_factory=dict)
    embeddings_downloads: dict[str, str] = field(default_factory=dict)
    vae_downloads: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the preset's own aspect ratio."""
        return parse_aspect_ratio(self.aspect_ratio)


def _number(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g} is needed")
        return value

    return read


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or value != int(value) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return int(value)

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("text is needed")
    return value


def _name(value: Any) -> str:
    """A file name; null and "" mean none."""
    return _text(value or "None")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    return value


def _names(value: Any) -> tuple[str, ...]:
    return tuple(_text(entry) for entry in _list(value))


def _one_of(names: Iterable[str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        found = find_folded(_text(value), names)
        if found is None:
            raise ValueError(f"one of {', '.join(names)} is needed")
        return found

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false is needed")
    return value


def _mode(value: Any) -> str:
    mode = performance(_text(value))
    if mode is None:
        raise ValueError("a performance mode is needed")
    return mode.label


def _aspect(value: Any) -> str:
    width, height = parse_aspect_ratio(_text(value))
    return f"{width}*{height}"


def _loras(value: Any) -> tuple[Lora, ...]:
    """Slots as `[enabled, name, weight]`, or `[name, weight]` as before Fooocus 2.4."""
    slots = [(True, *slot) if len(slot) == 2 else tuple(slot) for slot in _list(value)]
    loras = [Lora(_name(name), _number(-10, 10)(weight), _flag(enabled)) for enabled, name, weight in slots]
    return tuple(lora for lora in loras if lora.used)


def _downloads(value: Any) -> dict[str, str]:
    return {_text(name): _text(url) for name, url in dict(value).items()}


# The preset file's key → the field it fills and how its value is read.
KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "default_model": ("base_model", _name),
    "previous_default_models": ("previous_default_models", _names),
    "default_refiner": ("refiner_model", _name),
    "default_refiner_switch": ("refiner_switch", _number(0, 1)),
    "default_loras": ("loras", _loras),
    "default_loras_min_weight": ("loras_min_weight", _number(-10, 10)),
    "default_loras_max_weight": ("loras_max_weight", _number(-10, 10)),
    "default_max_lora_number": ("max_loras", _integer(1, 100)),
    "default_cfg_scale": ("guidance_scale", _number(1, 30)),
    "default_sample_sharpness": ("sharpness", _number(0, 30)),
    "default_cfg_tsnr": ("adaptive_cfg", _number(1, 30)),
    "default_clip_skip": ("clip_skip", _integer(1, 12)),
    "default_sampler": ("sampler", _one_of(SAMPLERS)),
    "default_scheduler": ("scheduler", _one_of(SCHEDULERS)),
    "default_overwrite_step": ("overwrite_step", _integer(-1, 200)),
    "default_overwrite_switch": ("overwrite_switch", _number(-1, 200)),
    "default_performance": ("performance", _mode),
    "default_image_number": ("image_number", _integer(1, 32)),
    "default_max_image_number": ("max_image_number", _integer(1, 10_000)),
    "default_prompt": ("prompt", _text),
    "default_prompt_negative": ("negative_prompt", _text),
    "default_styles": ("styles", _names),
    "default_aspect_ratio": ("aspect_ratio", _aspect),
    "available_aspect_ratios": ("available_aspect_ratios", lambda value: tuple(_aspect(size) for size in _list(value))),
    "default_output_format": ("output_format", _one_of(("png", "jpeg", "jpg", "webp"))),
    "default_save_metadata_to_images": ("save_metadata", _flag),
    "default_metadata_scheme": ("metadata_scheme", _one_of(("fooocus", "a1111"))),
    "metadata_created_by": ("created_by", _text),
    "default_vae": ("vae", _name),
    "default_inpaint_engine_version": ("inpaint_engine_version", _one_of(("None", "v1", "v2.5", "v2.6"))),
    "checkpoint_downloads": ("checkpoint_downloads", _downloads),
    "lora_downloads": ("lora_downloads", _downloads),
    "embeddings_downloads": ("embeddings_downloads", _downloads),
    "vae_downloads": ("vae_downloads", _downloads),
}


def read_preset(name: str, content: Mapping[str, Any], base: Preset) -> Preset:
    """A preset from the content of its file; keys it lacks, and values it gets wrong, come from `base`.

    Unknown keys are ignored, wrong values are logged. The downloads and the aliases are never inherited.
    """
    values: dict[str, Any] = {
        "name": name,
        "previous_default_models": (),
        "checkpoint_downloads": {},
        "lora_downloads": {},
        "embeddings_downloads": {},
        "vae_downloads": {},
    }
    for key, value in content.items():
        if key not in KEYS:
            continue
        field_name, read = KEYS[key]
        try:
            values[field_name] = read(value)
        except (TypeError, ValueError, OverflowError, Refused) as error:
            logger.warning("preset %s: %s is ignored: %s", name, key, error)
    return msgspec.structs.replace(base, **values)


def load_presets(user_folder: Path | None = None, configured: Mapping[str, Any] | None = None) -> dict[str, Preset]:
    """The shipped presets and the user's, by name; a user's preset replaces a shipped one of the same name.

    configured: the user's own defaults (Fooocus' config.txt), which every preset falls back to. They are the preset
    NO_PRESET, if there are any. A file that is not a JSON object is left out with a log line.
    """
    contents: dict[str, Mapping[str, Any]] = {}
    folders = [SHIPPED, *([user_folder] if user_folder else [])]
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        try:
            contents[path.stem] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("preset file %s was left out: %s", path, error)
    default = contents.get("default", {})
    base = read_preset(NO_PRESET, {**default, **(configured or {})}, Preset())
    presets = {name: read_preset(name, content, base) for name, content in contents.items()}
    return presets | {NO_PRESET: base} if configured else presets
