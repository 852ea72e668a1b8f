"""LoRA files: reading every dialect, matching to the parts of a checkpoint, and the change each makes to a weight.

lora = load_lora(path)
match = match_lora(lora, {"unet": model.unet.sizes, "clip_l": clip.l.sizes, "clip_g": clip.g.sizes})
patch = LoraPatch(match, strength=0.8)     # goes into Model.loras / Clip.loras; models.memory merges it
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from models.errors import BadModelFile
from models.formats.family import kind_of
from models.formats.lora_names import target_of
from models.formats.weights import WeightFile, open_weights
from models.lora_delta import LoraDelta

__all__ = ["LoraDelta", "LoraFile", "LoraMatch", "LoraPatch", "load_lora", "match_lora"]

MAX_UNMATCHED = 12  # Fooocus' rule: a file with more was made for another architecture and is skipped

_ROLE = re.compile(
    r"(?P<target>.+?)"
    r"(?:\.lora_(?P<kohya>up|down|mid)|[._]lora\.(?P<old>up|down)|\.lora_linear_layer\.(?P<linear>up|down)"
    r"|\.lora_(?P<peft>[AB])(?:\.default)?)(?:\.weight)$"
)
_EXTRA = re.compile(r"(?P<target>.+?)\.(?P<role>alpha|dora_scale|lora_magnitude_vector)(?:\.default)?(?:\.weight)?$")
_PEFT = {"A": "down", "B": "up"}
_UNSUPPORTED = (
    ("LoHa", (".hada_w1", ".hada_w2", ".hada_t")),
    ("LoKr", (".lokr_w1", ".lokr_w2", ".lokr_t2")),
    ("GLoRA", (".a1.weight", ".b1.weight")),
    ("OFT", (".oft_blocks", ".oft_diag")),
    ("full-difference", (".diff", ".diff_b", ".w_norm", ".b_norm", ".set_weight")),
)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as read: changes by the file's own names for the weights, and how many tensors make up each."""

    path: Path
    key: tuple[str, int, int]  # path, size, mtime_ns
    entries: Mapping[str, LoraDelta]
    keys: Mapping[str, int]
    strangers: tuple[str, ...] = ()  # tensors that belong to no LoRA layer


@dataclass(frozen=True)
class LoraMatch:
    """A LoRA fitted to one checkpoint: changes by part and parameter name. Empty when `skipped`."""

    key: tuple[str, int, int]
    parts: Mapping[str, Mapping[str, LoraDelta]]
    unmatched: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    skipped: bool = False


@dataclass(frozen=True)
class LoraPatch:
    """A fitted LoRA at a strength."""

    match: LoraMatch
    strength: float

    @property
    def key(self) -> tuple[str, int, int]:
        """The file's identity."""
        return self.match.key

    def deltas(self, part: str) -> Mapping[str, LoraDelta]:
        """The changes of "unet", "clip_l" or "clip_g"."""
        return self.match.parts.get(part, {})


def load_lora(path: str | Path) -> LoraFile:
    """Read a LoRA file: kohya (LDM or diffusers block names), diffusers/PEFT, old attention processors, DoRA, LoCon.

    Raises BadModelFile for anything else, by name.
    """
    path = Path(path)
    with open_weights(path) as file:
        _refuse_others(file)
        layers, strangers = _group(file)
        if not layers:
            kind = kind_of(file.tensors)
            raise BadModelFile(
                path, f"is {kind.name if kind else 'something unknown'}, not a LoRA", kind.remedy if kind else ""
            )
        entries = {target: _delta(path, target, roles) for target, roles in layers.items()}
        status = path.stat()
    counts = {target: len(roles) for target, roles in layers.items()}
    return LoraFile(path, (str(path.resolve()), status.st_size, status.st_mtime_ns), entries, counts, tuple(strangers))


def match_lora(lora: LoraFile, parts: Mapping[str, Any]) -> LoraMatch:
    """Fit a LoRA to the parts of a checkpoint, given by the sizes of each ("unet", "clip_l", "clip_g").

    Layers of parts that are not given are left out silently. More than 12 unmatched tensors: the whole file is skipped.
    """
    found: dict[str, dict[str, LoraDelta]] = {part: {} for part in parts}
    unmatched = list(lora.strangers)
    for name, delta in lora.entries.items():
        target = target_of(name, parts)
        if target is None:
            unmatched.extend([name] * lora.keys[name])
        elif target.part in parts:
            if _fits(delta, target.shape):
                found[target.part][target.parameter] = delta
            else:
                unmatched.extend([name] * lora.keys[name])
    if len(unmatched) > MAX_UNMATCHED:
        fault = f"{len(unmatched)} of its tensors do not fit this checkpoint (the first: {unmatched[0]})"
        warnings = (f"LoRA {lora.path.name} is skipped: {fault}",)
        return LoraMatch(lora.key, {}, tuple(unmatched), warnings, skipped=True)
    warnings = (f"LoRA {lora.path.name}: {len(unmatched)} tensors do not fit and are ignored",) if unmatched else ()
    return LoraMatch(lora.key, found, tuple(unmatched), warnings)


def _fits(delta: LoraDelta, shape: tuple[int, ...]) -> bool:
    rank = delta.down.shape[0]
    factors_meet = delta.up.shape[1] == rank if delta.mid is None else delta.mid.shape[:2] == (delta.up.shape[1], rank)
    own = delta.shape()
    same = own == shape or (own[:2] == shape[:2] and {*own[2:], *shape[2:]} <= {1})
    return factors_meet and same


def _refuse_others(file: WeightFile) -> None:
    for name, endings in _UNSUPPORTED:
        if any(key.endswith(ending) or f"{ending}_" in key for key in file.tensors for ending in endings):
            raise BadModelFile(
                file.path, f"is a {name} file, which is not supported yet", "Use a LoRA, LoCon or DoRA file."
            )


def _group(file: WeightFile) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Return the tensors of each layer by role (copied out of the file), and the names that are none of a LoRA's."""
    layers: dict[str, dict[str, Tensor]] = {}
    strangers: list[str] = []
    for name in file.tensors:
        target, role = _role(name)
        if role is None:
            strangers.append(name)
        else:
            layers.setdefault(target, {})[role] = file.tensor(name).clone()
    for target in [t for t, roles in layers.items() if not {"up", "down"} <= roles.keys()]:
        strangers.extend(f"{target}.{role}" for role in layers.pop(target))
    return layers, strangers


def _role(name: str) -> tuple[str, str | None]:
    match = _ROLE.match(name)
    if match:
        groups = match.groupdict()
        role = groups["kohya"] or groups["old"] or groups["linear"] or _PEFT[groups["peft"]]
        return groups["target"], role
    extra = _EXTRA.match(name)
    if extra:
        return extra["target"], "dora_scale" if extra["role"] == "lora_magnitude_vector" else extra["role"]
    return name, None


def _delta(path: Path, target: str, roles: dict[str, Tensor]) -> LoraDelta:
    if roles["up"].ndim < 2 or roles["down"].ndim < 2:
        raise BadModelFile(path, f"has a damaged layer {target}", "Download it again.")
    alpha = float(roles["alpha"]) if "alpha" in roles else None
    return LoraDelta(roles["up"], roles["down"], roles.get("mid"), alpha, roles.get("dora_scale"))
