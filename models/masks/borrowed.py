"""Modules of transformers as residents of ours: built without weights, then filled from a file in its authors' layout.

transformers is an extra (`focal[masks]`); it is imported when the first of these models is opened.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ModelError
from models.formats.pickled import open_either
from models.formats.plan import Plan, check_plan, fill
from models.formats.weights import WeightFile
from models.memory import Loader, Residency, Resident

Buffers = Callable[[str, WeightFile], Tensor]


class MissingPackage(ModelError):
    """A package that only some models need is not installed."""

    code = "missing_package"


def transformers() -> Any:
    """Import transformers. Raises MissingPackage."""
    try:
        import transformers as package
    except ImportError as error:
        raise MissingPackage(
            "Masks found by words need the package transformers, which is not installed.",
            'Install it with: pip install "focal[masks]"',
        ) from error
    return package


def no_buffer(name: str, file: WeightFile) -> Tensor:
    """For modules without buffers."""
    raise KeyError(name)


def borrow(
    path: Path,
    part: str,
    residency: Residency,
    build: Callable[[], nn.Module],
    plan: Plan,
    buffers: Buffers = no_buffer,
    wrappers: tuple[str, ...] = (),
    also: tuple = (),
) -> Resident:
    """Make a module resident, in float32. buffers: what a buffer holds, by name. also: what else decides its weights.

    Raises BadModelFile unless the plan gives every parameter a tensor of its shape.
    """

    def read(module: nn.Module) -> None:
        device = next(module.parameters()).device
        with open_either(path, wrappers) as file:
            fill(module, file, plan)
            for name, buffer in list(module.named_buffers()):
                owner, _, leaf = name.rpartition(".")
                value = buffers(name, file).reshape(buffer.shape)
                module.get_submodule(owner)._buffers[leaf] = value.to(device, buffer.dtype, copy=True)

    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns, part, *also)
    resident = residency.load(key, Loader(part, lambda: joined(build()), read, torch.float32))
    with open_either(path, wrappers) as file:
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return resident


def joined(module: nn.Module) -> nn.Module:
    """Make layers that share their weights one and the same layer, so that weights that move stay shared."""
    owners: dict[int, nn.Module] = {}
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            for parameter in layer._parameters.values():
                owner = owners.setdefault(id(parameter), layer) if parameter is not None else layer
                if owner is not layer:
                    setattr(parent, name, owner)
                    break
    return module


def count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many numbered parts stand behind a prefix such as `image_encoder.blocks.`."""
    numbers = {name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)}
    return len(numbers)
