"""Metadata scheme `a1111`: prompt, negative prompt, and a line of `Key: value` pairs (Fooocus behaviour §7.4)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from graphs.metadata_fooocus import numbers
from graphs.metadata_fooocus import read as read_values
from graphs.metadata_own import KEY, PAIR
from graphs.metadata_record import Record
from graphs.names import find_folded
from graphs.request import SAMPLERS, SCHEDULERS, GenerationRequest
from graphs.styles import StyleBook

SAMPLER_LABELS = {
    "euler": "Euler", "euler_ancestral": "Euler a", "heun": "Heun", "dpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a",
    "lms": "LMS", "dpm_fast": "DPM fast", "dpm_adaptive": "DPM adaptive", "dpmpp_2s_ancestral": "DPM++ 2S a",
    "dpmpp_sde": "DPM++ SDE", "dpmpp_sde_gpu": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE", "lcm": "LCM", "tcd": "TCD", "restart": "Restart", "ddim": "DDIM",
    "uni_pc": "UniPC",
}  # fmt: skip
KARRAS = " Karras"
# The pair's key → the key of `graphs.metadata_fooocus` that holds the same value.
KEYS = {
    "Steps": "steps", "Seed": "seed", "CFG scale": "guidance_scale", "Sharpness": "sharpness",
    "ADM Guidance": "adm_guidance", "Model": "base_model", "Performance": "performance", "VAE": "vae",
    "Raw prompt": "prompt", "Raw negative prompt": "negative_prompt", "Refiner": "refiner_model",
    "Adaptive CFG": "adaptive_cfg", "Clip skip": "clip_skip", "Overwrite Switch": "overwrite_switch",
    "Refiner Swap Method": "refiner_swap_method", "FreeU": "freeu", "Version": "version",
}  # fmt: skip

# A key of at most 40 characters and its value, quoted or up to the next comma.
_PAIR = re.compile(r'([\w+/-][\w +/-]{0,39}):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)')
NEGATIVE = "Negative prompt:"


def write(record: Record, own: Mapping[str, Any] | None = None) -> str:
    """The text. A hash that is not known is left out. own: what has no other key."""
    values = record.values
    pairs: dict[str, Any] = {
        "Steps": values["steps"],
        "Sampler": sampler_label(values["sampler"], values["scheduler"]),
        "Seed": values["seed"],
        "Size": f"{record.size[0]}x{record.size[1]}",
        "CFG scale": values["guidance_scale"],
        "Sharpness": values["sharpness"],
        "ADM Guidance": values["adm_guidance"],
        "Model": values["base_model"],
        "Model hash": record.base_model_hash,
        "Performance": values["performance"],
        "Scheduler": values["scheduler"],
        "VAE": values["vae"],
        "Raw prompt": values["prompt"],
        "Raw negative prompt": values["negative_prompt"],
        "Refiner": values["refiner_model"] if record.refined else "",
        "Refiner hash": record.refiner_model_hash,
        "Adaptive CFG": values.get("adaptive_cfg", ""),
        "Clip skip": values.get("clip_skip", ""),
        "Overwrite Switch": values.get("overwrite_switch", ""),
        "Refiner Swap Method": values.get("refiner_swap_method", ""),
        "FreeU": values.get("freeu", ""),
        "Lora hashes": ", ".join(f"{lora.stem}: {lora.hash}" for lora in record.loras),
        "Lora weights": ", ".join(f"{lora.stem}: {lora.weight}" for lora in record.loras),
        "Version": values["version"],
        "User": record.created_by,
        PAIR: json.dumps(own) if own else "",
    }
    always = ("Raw prompt", "Raw negative prompt")
    lines = [", ".join(record.full_prompt)]
    if any(record.full_negative_prompt):
        lines.append(f"{NEGATIVE} {', '.join(record.full_negative_prompt)}")
    shown = [(key, str(value)) for key, value in pairs.items() if value != "" or key in always]
    lines.append(", ".join(key if key == value else f"{key}: {_quoted(value)}" for key, value in shown))
    return "\n".join(lines)


def sampler_label(sampler: str, scheduler: str) -> str:
    """A1111's name of a sampler; with Karras sigmas it says so, where it has such a name."""
    label = SAMPLER_LABELS.get(sampler)
    return sampler if label is None else label + (KARRAS if scheduler == "karras" else "")


def read(text: str, styles: StyleBook | None = None) -> GenerationRequest | None:
    """The request behind A1111 text, Fooocus's or the web UI's own; None when there is no line of pairs."""
    *lines, last = text.strip().splitlines() or [""]
    pairs = {key: _unquoted(value) for key, value in _PAIR.findall(last)}
    if "Steps" not in pairs and "Seed" not in pairs:
        return None
    by_fooocus = pairs.get("Version", "").startswith("Fooocus")
    prompt, negative = _two_lines(lines) if by_fooocus else _prompts(lines)
    values: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative, "styles": []}
    values |= {KEYS[key]: value for key, value in pairs.items() if key in KEYS}
    if styles is not None and "Raw prompt" in pairs:
        values["styles"] = _styles_in(prompt, negative, str(values["prompt"]), styles)
    width_height = numbers(pairs.get("Size", "").split("x"), 2)
    if width_height:
        values["resolution"] = width_height
    values |= _sampling(pairs)
    if PAIR in pairs:
        values[KEY] = _object(pairs[PAIR])
    weights = [pair.rpartition(":") for pair in pairs.get("Lora weights", "").split(",") if ":" in pair]
    values |= {
        f"lora_combined_{n}": f"{name.strip()} : {weight.strip()}" for n, (name, _, weight) in enumerate(weights, 1)
    }
    return read_values(values)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search(r"[,:\n]", value) else value


def _object(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _unquoted(value: str) -> str:
    value = value.strip()
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


def _two_lines(lines: list[str]) -> tuple[str, str]:
    """The positive and the negative text of Fooocus, which are one line each."""
    first, second = [*lines, "", ""][:2]
    return first, second.removeprefix(NEGATIVE).strip()


def _prompts(lines: list[str]) -> tuple[str, str]:
    """The positive and the negative text of the web UI, each of which may span lines."""
    start = next((n for n, line in enumerate(lines) if line.startswith(NEGATIVE)), len(lines))
    negative = "\n".join(lines[start:]).removeprefix(NEGATIVE).strip()
    return "\n".join(lines[:start]).strip(), negative


def _sampling(pairs: dict[str, str]) -> dict[str, str]:
    """Sampler and scheduler names; where two samplers share a label, the `_gpu` one, Fooocus's default, is meant."""
    shown = pairs.get("Sampler", "")
    label = shown.removesuffix(KARRAS)
    by_label = {SAMPLER_LABELS.get(name, name).casefold(): name for name in SAMPLERS}
    found = {"sampler": by_label.get(label.casefold()), "scheduler": pairs.get("Scheduler") or None}
    if found["scheduler"] is None:
        schedule = "karras" if shown.endswith(KARRAS) else pairs.get("Schedule type", "")
        found["scheduler"] = find_folded(schedule.replace(" ", "_"), SCHEDULERS)
    return {key: value for key, value in found.items() if value}


def _styles_in(prompt: str, negative: str, raw: str, styles: StyleBook) -> list[str]:
    """The styles whose texts stand in the written prompts, in the order in which they stand there."""
    main = raw.split("\n", 1)[0]
    found: list[tuple[int, str]] = []
    for name, style in styles.styles.items():
        wanted, place = (style.prompt.replace("{prompt}", main), prompt) if style.prompt else (
            style.negative_prompt, negative
        )  # fmt: skip
        position = place.find(wanted) if wanted else -1
        if position >= 0:
            found.append((position, name))
    return [name for _, name in sorted(found)]
