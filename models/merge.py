"""Merging LoRAs into the resident weights of one module, and taking them out again, bit for bit."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn


class Delta(Protocol):
    """A change of one weight."""

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        """Return the changed weight. weight: float32, with earlier changes; base: the weight of the file."""
        ...


class Patch(Protocol):
    """A set of changes for the parts of a checkpoint, with its strength."""

    @property
    def key(self) -> Hashable:
        """Equal for equal changes."""
        ...

    @property
    def strength(self) -> float:
        """0 changes nothing."""
        ...

    def deltas(self, part: str) -> Mapping[str, Delta]:
        """The changes of one part ("unet", "clip_l", "clip_g") by parameter name."""
        ...


Signature = tuple[tuple[Hashable, float], ...]


@dataclass
class Merge:
    """What is merged into a module now: per touched weight its base copy and the patches in it, in order."""

    part: str
    backups: dict[str, Tensor] = field(default_factory=dict)
    applied: dict[str, Signature] = field(default_factory=dict)
    patches: Signature = ()

    @property
    def bytes(self) -> int:
        """Memory of the base copies."""
        return sum(backup.nbytes for backup in self.backups.values())

    def switch(self, module: nn.Module, patches: Sequence[Patch]) -> int:
        """Make the module carry exactly these patches; return how many weights were written.

        Weights whose patches stay the same are not touched; those that lose their last patch get their base copy back.
        """
        wanted = self._by_weight(patches)
        touched = [
            name for name in {**self.applied, **wanted} if self.applied.get(name) != _signature(wanted.get(name, []))
        ]
        for name in touched:
            self._write(module.get_parameter(name), name, wanted.get(name, []))
        self.patches = signature(patches)
        return len(touched)

    def _by_weight(self, patches: Sequence[Patch]) -> dict[str, list[tuple[Patch, Delta]]]:
        wanted: dict[str, list[tuple[Patch, Delta]]] = {}
        for patch in patches:
            if patch.strength:
                for name, delta in patch.deltas(self.part).items():
                    wanted.setdefault(name, []).append((patch, delta))
        return wanted

    def _write(self, parameter: Tensor, name: str, changes: list[tuple[Patch, Delta]]) -> None:
        if not changes:
            parameter.copy_(self.backups.pop(name))
            del self.applied[name]
            return
        base = self.backups.get(name)
        if base is None:
            base = self.backups[name] = _copy(parameter)
        full = base.to(parameter.device, torch.float32)
        weight = full
        for patch, delta in changes:
            weight = delta(weight, full, patch.strength)
        parameter.copy_(weight)
        self.applied[name] = _signature(changes)


def _copy(parameter: Tensor) -> Tensor:
    """Copy a weight, into main memory when the GPU is full."""
    try:
        return parameter.clone()
    except torch.OutOfMemoryError:
        return parameter.cpu()


def signature(patches: Sequence[Patch]) -> Signature:
    """Return what tells two lists of patches apart."""
    return tuple((patch.key, patch.strength) for patch in patches if patch.strength)


def _signature(changes: list[tuple[Patch, Delta]]) -> Signature:
    return signature([patch for patch, _ in changes])
