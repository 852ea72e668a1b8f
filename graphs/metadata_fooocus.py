"""Metadata scheme `fooocus`: a flat JSON object with sorted keys (Fooocus behaviour §7.3, §12.4)."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from graphs.metadata_own import KEY, completed
from graphs.metadata_record import Record
from graphs.performance import PERFORMANCES, Performance, performance
from graphs.presets import DEFAULT_VAE
from graphs.request import MAX_SEED, FreeU, GenerationRequest, Lora

MAX_LITERAL = 20_000  # Characters of a list or tuple in text; longer ones are not worth parsing.
# Labels that Fooocus's log uses for the same values.
LABELS = {
    "prompt": "Prompt", "negative_prompt": "Negative Prompt", "styles": "Styles", "performance": "Performance",
    "steps": "Steps", "resolution": "Resolution", "guidance_scale": "Guidance Scale", "sharpness": "Sharpness",
    "adm_guidance": "ADM Guidance", "base_model": "Base Model", "refiner_model": "Refiner Model",
    "refiner_switch": "Refiner Switch", "overwrite_switch": "Overwrite Switch", "clip_skip": "CLIP Skip",
    "adaptive_cfg": "CFG Mimicking from TSNR", "sampler": "Sampler", "scheduler": "Scheduler", "vae": "VAE",
    "seed": "Seed", "freeu": "FreeU", "refiner_swap_method": "Refiner Swap Method",
}  # fmt: skip


def write(record: Record, own: Mapping[str, Any] | None = None) -> str:
    """The JSON object. Numbers keep their type, the seed is text, what is not ASCII is escaped.

    own: what has no other key.
    """
    values = {
        **record.values,
        "full_prompt": record.full_prompt,
        "full_negative_prompt": record.full_negative_prompt,
        "base_model_hash": record.base_model_hash,
        "loras": [[lora.stem, lora.weight, lora.hash] for lora in record.loras],
    }
    if record.refined:
        values["refiner_model_hash"] = record.refiner_model_hash
    if record.created_by:
        values["created_by"] = record.created_by
    if own:
        values[KEY] = own
    return json.dumps(values, sort_keys=True)


def read(content: Mapping[str, Any]) -> GenerationRequest:
    """The request behind a JSON object; keys that are missing or make no sense stay open."""
    values = dict(content)
    for key, label in LABELS.items():
        if key not in values and label in values:
            values[key] = values[label]
    mode = performance(str(values.get("performance", "")))
    width, height = numbers(values.get("resolution"), 2) or (None, None)
    adm = numbers(values.get("adm_guidance"), 3) or (1.5, 0.8, 0.3)
    freeu = numbers(values.get("freeu"), 4)
    vae = _text(values.get("vae"))
    request = GenerationRequest(
        prompt=_text(values.get("prompt")),
        negative_prompt=_text(values.get("negative_prompt")),
        styles=_styles(values.get("styles")),
        performance=mode.label if mode else None,
        overwrite_step=_steps(values.get("steps"), mode),
        width=int(width) if width else None,
        height=int(height) if height else None,
        seed=seed(values.get("seed")),
        sharpness=number(values.get("sharpness")),
        guidance_scale=number(values.get("guidance_scale")),
        adaptive_cfg=number(values.get("adaptive_cfg")),
        adm_scaler_positive=adm[0],
        adm_scaler_negative=adm[1],
        adm_scaler_end=adm[2],
        base_model=_text(values.get("base_model")),
        refiner_model=_text(values.get("refiner_model")),
        refiner_switch=number(values.get("refiner_switch")),
        overwrite_switch=number(values.get("overwrite_switch")),
        refiner_swap_method=_text(values.get("refiner_swap_method")) or "joint",
        clip_skip=_clip_skip(values),
        sampler=_text(values.get("sampler")),
        scheduler=_text(values.get("scheduler")),
        vae=None if vae == DEFAULT_VAE else vae,
        freeu=FreeU(*freeu) if freeu else None,
        loras=_loras(values, mode),
    )
    return completed(request, values.get(KEY))


def literal(value: Any) -> Any:
    """A Python literal in text, such as `"(1.5, 0.8)"`, as the value it means; None when it is none."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_LITERAL:
        return None
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def number(value: Any) -> float | None:
    """A finite number, also when written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 1e6 else None


def whole(value: Any) -> int | None:
    found = number(value)
    return int(found) if found is not None else None


def numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """A tuple of so many numbers; elements may be quoted, as `('1152', '896')`."""
    parts = literal(value)
    if not isinstance(parts, list | tuple) or len(parts) != count:
        return None
    found = [number(part) for part in parts]
    return None if None in found else tuple(part for part in found if part is not None)


def seed(value: Any) -> int | None:
    """A seed of 0..2**63 − 1, never taken through a float."""
    if isinstance(value, bool) or not re.fullmatch(r"\d{1,19}", str(value)):
        return None
    return int(value) if int(value) <= MAX_SEED else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _styles(value: Any) -> list[str] | None:
    names = literal(value)
    if not isinstance(names, list | tuple):
        return None
    return [name for name in names if isinstance(name, str)]


def _clip_skip(values: Mapping[str, Any]) -> int | None:
    """Written only when it is more than 1, so a file of Fooocus's that does not name it means 1."""
    return whole(values.get("clip_skip", 1 if str(values.get("version", "")).startswith("Fooocus") else None))


def _steps(value: Any, mode: Performance | None) -> int | None:
    """−1 when the steps are what the mode makes anyway."""
    steps = whole(value)
    nominal = (mode or PERFORMANCES["Speed"]).steps
    return -1 if steps == nominal else steps


def _loras(values: Mapping[str, Any], mode: Performance | None) -> list[Lora] | None:
    """LoRAs from `name : weight` or `enabled : name : weight`, without the mode's own, which it adds again."""
    keys = [key for key in values if re.fullmatch(r"lora_combined_\d{1,3}", key)]
    if not keys:
        return [] if "performance" in values else None
    distilled = mode.distilled if mode else None
    loras = []
    for key in sorted(keys, key=lambda key: int(key.rsplit("_", 1)[1])):
        head, _, weight_text = str(values[key]).rpartition(" : ")
        flag, separator, name = head.partition(" : ")
        enabled = flag.casefold() != "false" if separator and flag.casefold() in ("true", "false") else True
        name = name if separator and flag.casefold() in ("true", "false") else head
        weight = number(weight_text)
        if name and weight is not None and not (distilled and distilled.brings(name)):
            loras.append(Lora(name, weight, enabled))
    return loras
