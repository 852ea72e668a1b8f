"""A plan says which tensor of a file fills which parameter of a module."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from models.errors import BadModelFile
from models.formats.weights import WeightFile


@dataclass(frozen=True)
class Source:
    """One tensor of a file, or a part of it: a third of the rows, or the transpose."""

    name: str
    third: int | None = None  # 0, 1, 2: the rows of q, k, v in a fused projection
    transpose: bool = False

    def shape(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Return the shape that `read` will return."""
        shape = shapes[self.name]
        if self.third is not None:
            shape = (shape[0] // 3, *shape[1:])
        return shape[::-1] if self.transpose else shape

    def read(self, file: WeightFile) -> Tensor:
        """Return the tensor or its part, as a view of the mapped file."""
        tensor = file.tensor(self.name)
        if self.third is not None:
            tensor = tensor.chunk(3)[self.third]
        return tensor.t() if self.transpose else tensor


Plan = dict[str, Source]  # parameter name → source


def plan_prefix(file: WeightFile, prefix: str) -> Plan:
    """Return a plan whose names are the file's without their prefix."""
    return {name[len(prefix) :]: Source(name) for name in file.tensors if name.startswith(prefix)}


def plan_shapes(file: WeightFile, plan: Plan) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what a plan reads, by parameter name."""
    shapes = {name: info.shape for name, info in file.tensors.items()}
    return {name: source.shape(shapes) for name, source in plan.items()}


def fill(module: nn.Module, file: WeightFile, plan: Plan) -> None:
    """Copy a file's tensors into a module's parameters one by one, casting to their dtype.

    1×1 convolutions and matrices are interchangeable. Raises BadModelFile for missing tensors and wrong shapes,
    before anything is copied.
    """
    parameters = dict(module.named_parameters())
    check_plan(file, {name: tuple(p.shape) for name, p in parameters.items()}, plan)
    for name, parameter in parameters.items():
        parameter.copy_(plan[name].read(file).reshape(parameter.shape))


def check_plan(file: WeightFile, wanted: Mapping[str, tuple[int, ...]], plan: Plan) -> None:
    """Raise BadModelFile unless the plan gives every wanted parameter a tensor of its shape."""
    missing = [name for name in wanted if name not in plan]
    if missing:
        fault = f"lacks {len(missing)} tensors (the first: {missing[0]})"
        raise BadModelFile(file.path, fault, "The file is damaged or another architecture; download it again.")
    shapes = plan_shapes(file, {name: plan[name] for name in wanted})
    for name, shape in wanted.items():
        if _squeezed(shapes[name]) != _squeezed(shape) or math.prod(shapes[name]) != math.prod(shape):
            fault = f"has {plan[name].name} with shape {shapes[name]} where {shape} is needed"
            raise BadModelFile(file.path, fault, "The file is damaged or another architecture.")


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] if shape[2:] == (1, 1) else shape
