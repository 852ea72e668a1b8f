"""What LoRA files call the weights of a checkpoint, in every dialect → (part, parameter)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from models.clip import TextEncoder, TextSizes
from models.formats.diffusers_unet import diffusers_name
from models.unet import UNet, UNetSizes

# Prefixes of each text encoder: kohya's flattened names, then dotted ones (diffusers, Comfy).
_TEXT = {
    "clip_l": (
        ("lora_te1_text_model_", "lora_te1_", "lora_te_text_model_"),
        (
            "text_encoder.text_model.",
            "text_encoder.",
            "clip_l.transformer.text_model.",
            "text_encoders.clip_l.transformer.text_model.",
        ),
    ),
    "clip_g": (
        ("lora_te2_text_model_", "lora_te2_"),
        (
            "text_encoder_2.text_model.",
            "text_encoder_2.",
            "clip_g.transformer.text_model.",
            "text_encoders.clip_g.transformer.text_model.",
        ),
    ),
}
_DROPPED = ("base_model.model.",)  # PEFT's wrapper


@dataclass(frozen=True)
class Target:
    """The weight that a LoRA layer changes."""

    part: str
    parameter: str
    shape: tuple[int, ...]


def target_of(name: str, parts: Mapping[str, Any], leaf: str = "weight") -> Target | None:
    """Find the weight (or, as `leaf`, the bias) of a layer by its name; None when no part has it.

    parts: sizes by part. A name of a text encoder that is not among them gives a Target without a parameter.
    """
    for prefix in _DROPPED:
        name = name.removeprefix(prefix)
    name = name.replace(".processor.", ".").replace(".to_out", ".to_out.0") if ".processor." in name else name
    for part, sizes in parts.items():
        target = _table(part, sizes).get((name, leaf))
        if target is not None:
            return target
    absent = (part for part in _TEXT if part not in parts and name.startswith(sum(_TEXT[part], ())))
    part = next(absent, None)
    return Target(part, "", ()) if part else None


@lru_cache(maxsize=16)
def _table(part: str, sizes: UNetSizes | TextSizes) -> dict[tuple[str, str], Target]:
    """All names of all layers of one part, with "weight" or "bias"."""
    with torch.device("meta"):
        module = UNet(sizes) if isinstance(sizes, UNetSizes) else TextEncoder(sizes)
    table: dict[tuple[str, str], Target] = {}
    for parameter, value in module.named_parameters():
        layer, _, leaf = parameter.rpartition(".")
        names = _unet_names(layer, sizes) if isinstance(sizes, UNetSizes) else _text_names(layer, part)
        target = Target(part, parameter, tuple(value.shape))
        table.update({(name, leaf): target for name in names})
    return table


def _unet_names(module: str, sizes: UNetSizes) -> Iterator[str]:
    theirs = diffusers_name(module, sizes)
    yield f"lora_unet_{_flat(module)}"
    yield f"lora_unet_{_flat(theirs)}"
    yield f"diffusion_model.{module}"
    yield f"model.diffusion_model.{module}"
    yield f"unet.{theirs}"
    yield theirs  # as PEFT saves a UNet of its own


def _text_names(module: str, part: str) -> Iterator[str]:
    flattened, dotted = _TEXT[part]
    yield from (f"{prefix}{_flat(module)}" for prefix in flattened)
    yield from (f"{prefix}{module}" for prefix in dotted)


def _flat(module: str) -> str:
    return module.replace(".", "_")
