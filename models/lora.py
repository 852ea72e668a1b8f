"""LoRA files: reading every dialect, matching to the parts of a checkpoint, and the change each makes to a weight.

lora = load_lora(path)
match = match_lora(lora, {"unet": model.unet.sizes, "clip_l": clip.l.sizes, "clip_g": clip.g.sizes})
patch = LoraPatch(match, strength=0.8)     # goes into Model.loras / Clip.loras; models.memory merges it
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import BadModelFile
from models.formats.family import kind_of
from models.formats.lora_layers import Layers, read_layers
from models.formats.lora_names import target_of
from models.formats.weights import open_weights
from models.lora_delta import Delta, LoraDelta

__all__ = ["LoraDelta", "LoraFile", "LoraMatch", "LoraPatch", "load_lora", "match_lora"]

CONTEXTS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x"}  # width of the prompts
MAX_UNMATCHED = 12  # Fooocus' rule: a file with more was made for another architecture and is skipped


@dataclass(frozen=True)
class LoraFile:
    """A LoRA as read: changes by the file's own names."""

    path: Path
    key: tuple[str, int, int]  # path, size, mtime_ns
    layers: Layers


@dataclass(frozen=True)
class LoraMatch:
    """A LoRA fitted to one checkpoint: changes by part and parameter name. Empty when `skipped`."""

    key: tuple[str, int, int]
    parts: Mapping[str, Mapping[str, Delta]]
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

    def deltas(self, part: str) -> Mapping[str, Delta]:
        """The changes of "unet", "clip_l" or "clip_g"."""
        return self.match.parts.get(part, {})


def load_lora(path: str | Path) -> LoraFile:
    """Read a LoRA file: kohya (LDM or diffusers block names), LyCORIS, diffusers/PEFT, old attention processors.

    Raises BadModelFile for anything else, by name.
    """
    path = Path(path)
    with open_weights(path) as file:
        layers = read_layers(file)
        if not layers.changes:
            kind = kind_of(file.tensors)
            raise BadModelFile(
                path, f"is {kind.name if kind else 'something unknown'}, not a LoRA", kind.remedy if kind else ""
            )
        status = path.stat()
    return LoraFile(path, (str(path.resolve()), status.st_size, status.st_mtime_ns), layers)


def match_lora(lora: LoraFile, parts: Mapping[str, Any]) -> LoraMatch:
    """Fit a LoRA to the parts of a checkpoint, given by the sizes of each ("unet", "clip_l", "clip_g").

    Layers of parts that are not given are left out silently. More than 12 unmatched tensors: the whole file is skipped.
    """
    found: dict[str, dict[str, Delta]] = {part: {} for part in parts}
    unmatched = list(lora.layers.strangers)
    for (name, leaf), (delta, tensors) in lora.layers.changes.items():
        target = target_of(name, parts, leaf)
        if target is None:
            unmatched.extend([name] * tensors)
        elif target.part in parts:
            if delta.fits(target.shape):
                found[target.part][target.parameter] = delta
            else:
                unmatched.extend([name] * tensors)
    if len(unmatched) > MAX_UNMATCHED:
        fault = f"{len(unmatched)} of its tensors do not fit this checkpoint (the first: {unmatched[0]})"
        warnings = (f"LoRA {lora.path.name} is skipped: {_maker(lora)}{fault}",)
        return LoraMatch(lora.key, {}, tuple(unmatched), warnings, skipped=True)
    warnings = (f"LoRA {lora.path.name}: {len(unmatched)} tensors do not fit and are ignored",) if unmatched else ()
    return LoraMatch(lora.key, found, tuple(unmatched), warnings)


def _maker(lora: LoraFile) -> str:
    """Say what a file that does not fit was made for, where the width of its prompts tells."""
    for (name, _), (delta, _) in lora.layers.changes.items():
        if isinstance(delta, LoraDelta) and name.replace(".", "_").endswith("attn2_to_k") and not delta.up.ndim > 2:
            made_for = CONTEXTS.get(delta.down.shape[1])
            return f"it was made for {made_for}; " if made_for else ""
    return ""
