"""Tensors of a LoRA file → changes by the file's own names for layers.

Names of tensors: kohya-ss and LyCORIS (`.lora_up.weight`, `.hada_w1_a`, `.oft_blocks` …), diffusers and PEFT
(`.lora_A.weight`, `_lora.up.weight`, alphas in the header or in a file beside), ComfyUI (`.diff`, `.diff_b`,
`.set_weight`).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models.errors import BadModelFile
from models.formats.weights import WeightFile
from models.lora_delta import Delta, LoraDelta
from models.lora_kinds import (
    Factors,
    FullDelta,
    GloraDelta,
    Ia3Delta,
    LohaDelta,
    LokrDelta,
    OftDelta,
    Replacement,
)

Roles = dict[str, Tensor]  # of one layer, by what each tensor is

_LOW_RANK = re.compile(
    r"(?P<target>.+?)"
    r"(?:\.lora_(?P<kohya>up|down|mid)|[._]lora\.(?P<old>up|down)|\.lora_linear_layer\.(?P<linear>up|down)"
    r"|\.lora_(?P<peft>[AB])(?:\.default)?)(?:\.weight)$"
)
_OTHERS = re.compile(
    r"(?P<target>.+?)\.(?P<role>alpha|dora_scale|lora_magnitude_vector|hada_w[12]_[ab]|hada_t[12]|lokr_w[12](?:_[ab])?"
    r"|lokr_t2|[ab][12](?=\.weight$)|oft_blocks|rescale|on_input|diff|diff_b|set_weight|w_norm|b_norm)"
    r"(?:\.default)?(?:\.weight)?$"
)
_PEFT = {"A": "down", "B": "up"}
_SAME = {"lora_magnitude_vector": "dora_scale", "w_norm": "diff", "b_norm": "diff_b"}
PEFT_WRAPPER = "base_model.model."  # before every name of a file that PEFT itself has saved
PEFT_FILE, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
MAX_CONFIG_BYTES = 2**20
_FACTOR = ".weight"  # of an IA³ layer, told from a raw weight by the `.on_input` beside it


@dataclass(frozen=True)
class Layers:
    """What a file changes. changes: by (the file's name for a layer, "weight" or "bias"), with the tensors of each.

    strangers: names of tensors that belong to no layer.
    """

    changes: Mapping[tuple[str, str], tuple[Delta, int]]
    strangers: tuple[str, ...]


def read_layers(file: WeightFile) -> Layers:
    """Read all layers of a file; tensors are copied out of it. Raises BadModelFile for a damaged layer."""
    grouped, strangers = _group(file)
    alphas = _Alphas(file.metadata, file.path)
    changes: dict[tuple[str, str], tuple[Delta, int]] = {}
    for target, roles in grouped.items():
        bias = roles.pop("diff_b", None)
        if bias is not None:
            changes[target, "bias"] = (FullDelta(bias), 1)
        kind = next((make for needed, make in _KINDS if needed <= roles.keys()), None)
        if kind is None:
            strangers += [f"{target}.{role}" for role in roles if bias is None or role != "alpha"]
            continue
        alpha = float(roles["alpha"]) if "alpha" in roles else alphas.of(target, roles)
        try:
            changes[target, "weight"] = (kind(roles, alpha), len(roles))
        except (IndexError, ValueError) as error:
            raise BadModelFile(file.path, f"has a damaged layer {target}", "Download it again.") from error
    return Layers(changes, tuple(strangers))


def _group(file: WeightFile) -> tuple[dict[str, Roles], list[str]]:
    layers: dict[str, Roles] = {}
    strangers: list[str] = []
    for name in file.tensors:
        target, role = _role(name)
        if role is None and name.endswith(_FACTOR) and name.removesuffix(_FACTOR) + ".on_input" in file.tensors:
            target, role = name.removesuffix(_FACTOR), "factor"
        if role is None:
            strangers.append(name)
        else:
            layers.setdefault(target, {})[role] = file.tensor(name).clone()
    return layers, strangers


def _role(name: str) -> tuple[str, str | None]:
    match = _LOW_RANK.match(name)
    if match:
        groups = match.groupdict()
        role = groups["kohya"] or groups["old"] or groups["linear"] or _PEFT[groups["peft"]]
        return groups["target"], role
    other = _OTHERS.match(name)
    return (other["target"], _SAME.get(other["role"], other["role"])) if other else (name, None)


def _lora(roles: Roles, alpha: float | None) -> Delta:
    if roles["up"].ndim < 2 or roles["down"].ndim < 2:
        raise ValueError("factors are matrices")
    return LoraDelta(roles["up"], roles["down"], roles.get("mid"), alpha, roles.get("dora_scale"))


def _loha(roles: Roles, alpha: float | None) -> Delta:
    one, other = (_factors(roles, f"hada_w{n}", f"hada_t{n}") for n in (1, 2))
    return LohaDelta(one, other, alpha, roles.get("dora_scale"))


def _lokr(roles: Roles, alpha: float | None) -> Delta:
    one, other = _factors(roles, "lokr_w1", ""), _factors(roles, "lokr_w2", "lokr_t2")
    return LokrDelta(one, other, alpha, roles.get("dora_scale"))


def _factors(roles: Roles, name: str, core: str) -> Factors:
    return Factors(roles.get(name), roles.get(f"{name}_a"), roles.get(f"{name}_b"), roles.get(core))


def _glora(roles: Roles, alpha: float | None) -> Delta:
    a, b = (roles["a1"], roles["a2"]), (roles["b1"], roles["b2"])
    return GloraDelta.of(a, b, alpha, roles.get("dora_scale"))


def _oft(roles: Roles, alpha: float | None) -> Delta:
    return OftDelta(roles["oft_blocks"], roles.get("rescale"), alpha or 0.0)


# What a layer of each kind cannot be without, and how its change is made.
_KINDS: tuple[tuple[frozenset[str], Callable[[Roles, float | None], Delta]], ...] = (
    (frozenset({"up", "down"}), _lora),
    (frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}), _loha),
    (frozenset({"lokr_w1", "lokr_w2"}), _lokr),
    (frozenset({"lokr_w1", "lokr_w2_a", "lokr_w2_b"}), _lokr),
    (frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2"}), _lokr),
    (frozenset({"lokr_w1_a", "lokr_w1_b", "lokr_w2_a", "lokr_w2_b"}), _lokr),
    (frozenset({"a1", "a2", "b1", "b2"}), _glora),
    (frozenset({"oft_blocks"}), _oft),
    (frozenset({"factor", "on_input"}), lambda roles, alpha: Ia3Delta(roles["factor"], bool(roles["on_input"]))),
    (frozenset({"set_weight"}), lambda roles, alpha: Replacement(roles["set_weight"])),
    (frozenset({"diff"}), lambda roles, alpha: FullDelta(roles["diff"])),
)


class _Alphas:
    """Alphas of PEFT's layers: diffusers keeps them in the header (`lora_adapter_metadata`), by part, PEFT in a file.

    In both, some layers may have one of their own.
    """

    def __init__(self, metadata: Mapping[str, str], path: Path) -> None:
        self._header = _table(metadata.get("lora_adapter_metadata", "{}"))
        self._beside = _table(_config_beside(path))

    def of(self, target: str, roles: Roles) -> float | None:
        """The alpha of a PEFT layer; None where nothing is said of it."""
        values, part, module = self._beside, "", target.removeprefix(PEFT_WRAPPER)
        if module == target:
            part, _, module = target.partition(".")
            values, part = self._header, f"{part}."
        alpha = values.get(f"{part}lora_alpha")
        if "down" not in roles or not isinstance(alpha, int | float):
            return None
        patterns = values.get(f"{part}alpha_pattern")
        own = patterns.items() if isinstance(patterns, dict) else ()
        fitting = (value for name, value in own if module == name or module.endswith(f".{name}"))
        alpha = next((value for value in fitting if isinstance(value, int | float)), alpha)
        rank = roles["down"].shape[0]
        return float(alpha) * (rank**0.5 if values.get(f"{part}use_rslora") else 1.0)


def _config_beside(path: Path) -> str:
    """What PEFT writes beside its weights; an empty table beside other files."""
    config = path.with_name(PEFT_CONFIG)
    if path.name != PEFT_FILE or not config.is_file() or config.stat().st_size > MAX_CONFIG_BYTES:
        return "{}"
    try:
        return config.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadModelFile(config, f"cannot be read ({error.strerror})", "Check its permissions.") from error


def _table(text: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except (ValueError, TypeError, RecursionError):  # a header may hold anything
        return {}
    return found if isinstance(found, dict) else {}
