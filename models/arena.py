"""All parameters of a module in one block of memory.

One allocation, one copy to move a module between host and device, and parameters that are used together (the q, k and
v of an attention) lie next to each other, so that one matrix product serves them all while each keeps its own name
for files and LoRAs.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ALIGNMENT_BYTES = 256  # of CUDA's own allocator; more than any CPU vector needs


@dataclass(frozen=True)
class Place:
    """Where one parameter lies in the block, in elements."""

    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Arena:
    """The memory of one module built on the meta device.

    A submodule names parameters that must lie side by side in a method `side_by_side() -> {attribute: [parameter
    names]}`; it gets a tensor of them all, stacked along dimension 0, under that attribute.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self._module = module
        self._parameters = dict(module.named_parameters())
        self.dtype = dtype
        self.places: dict[str, Place] = {}
        self._stacks: list[tuple[nn.Module, str, Place]] = []
        self._elements = 0
        self._lay_out()
        self.block: Tensor | None = None

    @property
    def bytes(self) -> int:
        """The size of the block."""
        return self._elements * self.dtype.itemsize

    def allocate(self, device: torch.device) -> None:
        """Reserve the block on a device, uninitialised, and bind every parameter to it."""
        self.bind(torch.empty(self._elements, dtype=self.dtype, device=device))

    def bind(self, block: Tensor) -> None:
        """Make every parameter of the module a view of this block."""
        self.block = block
        for name, place in self.places.items():
            owner, _, leaf = name.rpartition(".")
            view = torch.as_strided(block, place.shape, place.stride, place.offset)
            self._module.get_submodule(owner)._parameters[leaf] = nn.Parameter(view, requires_grad=False)
        for submodule, attribute, place in self._stacks:
            setattr(submodule, attribute, torch.as_strided(block, place.shape, place.stride, place.offset))

    def move(self, device: torch.device) -> None:
        """Copy the block to another device in one transfer and rebind."""
        if self.block is not None and self.block.device != device:
            self.bind(self.block.to(device))

    def release(self) -> None:
        """Give the block back; the parameters are on the meta device again."""
        self.allocate(torch.device("meta"))
        self.block = None

    def _lay_out(self) -> None:
        for prefix, submodule in self._module.named_modules():
            for attribute, names in _stacks_of(submodule):
                full = [f"{prefix}.{name}" if prefix else name for name in names]
                self._stacks.append((submodule, attribute, self._place_stack(full)))
        for name in self._parameters:
            if name not in self.places:
                self._align()
                self._place(name)

    def _place_stack(self, names: list[str]) -> Place:
        self._align()
        start = self._elements
        places = [self._place(name) for name in names]
        rows = sum(place.shape[0] for place in places)
        return Place(start, (rows, *places[0].shape[1:]), places[0].stride)

    def _place(self, name: str) -> Place:
        shape = tuple(self._parameters[name].shape)
        place = Place(self._elements, shape, _dense_stride(shape))
        if name in self.places:
            raise ValueError(f"{name} is in two stacks")
        self.places[name] = place
        self._elements += math.prod(shape)
        return place

    def _align(self) -> None:
        unit = ALIGNMENT_BYTES // self.dtype.itemsize
        self._elements = -(-self._elements // unit) * unit


def _stacks_of(submodule: nn.Module) -> Iterator[tuple[str, list[str]]]:
    declare: Callable[[], dict[str, list[str]]] | None = getattr(submodule, "side_by_side", None)
    if declare is not None:
        yield from declare().items()


def _dense_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return row-major strides; for convolution kernels channels_last ones, as the kernels want them."""
    if len(shape) == 4:
        _, channels, height, width = shape
        return (channels * height * width, 1, width * channels, channels)
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
