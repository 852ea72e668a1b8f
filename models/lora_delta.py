"""The change that one LoRA layer makes to one weight.

Hu et al. 2021, https://arxiv.org/abs/2106.09685; DoRA: Liu et al. 2024, https://arxiv.org/abs/2402.09353; factored
convolutions: LyCORIS, https://arxiv.org/abs/2309.14859. Other kinds of layers stand in `models.lora_kinds`.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Delta(Protocol):
    """A change of one weight, as `models.merge` applies it."""

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        """Return the changed weight in float32, the difference scaled by `strength`."""
        ...

    def fits(self, shape: Shape) -> bool:
        """Whether a weight of this shape can be changed so."""
        ...


class Rescaling:
    """The way of all changes but replacements: a difference is added, and with DoRA the sum gets a learned length."""

    dora_scale: Tensor | None = None

    def difference(self, weight: Tensor) -> Tensor:
        """What is added to a float32 weight at strength 1, in its shape."""
        raise NotImplementedError

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        """Return weight + strength · difference; with DoRA, moved towards the rescaled sum."""
        difference = self.difference(weight)
        if self.dora_scale is not None:
            difference = rescaled(weight + difference, self.dora_scale) - weight
        return weight + strength * difference


def rescaled(weight: Tensor, dora_scale: Tensor) -> Tensor:
    """Give each column (or row, as dora_scale's shape says) of a weight the learned length."""
    scale = dora_scale.to(weight.device, torch.float32)
    matrix = weight.flatten(1)
    if scale.ndim == 1 or scale.shape[0] == weight.shape[0]:  # one length per output
        lengths = matrix.norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
        return weight * scale.reshape(lengths.shape) / lengths
    lengths = weight.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (weight.ndim - 2))
    return weight * scale.reshape(lengths.shape) / lengths


def same_shape(own: Shape, shape: Shape) -> bool:
    """Whether two weights are the same matrix: a 1x1 convolution is one too."""
    return own == shape or (len(own) >= 2 and own[:2] == shape[:2] and {*own[2:], *shape[2:]} <= {1})


@dataclass(frozen=True)
class LoraDelta(Rescaling):
    """alpha/R · up·down. up (out, R), down (R, in[, k, k]), mid (R, R, k, k) of a factored convolution."""

    up: Tensor
    down: Tensor
    mid: Tensor | None = None
    alpha: float | None = None
    dora_scale: Tensor | None = None

    def difference(self, weight: Tensor) -> Tensor:
        return self.product(weight.device).reshape(weight.shape) * self.scale

    def fits(self, shape: Shape) -> bool:
        rank = self.down.shape[0]
        if self.mid is None:
            return self.up.shape[1] == rank and same_shape(self.shape(), shape)
        return self.mid.shape[:2] == (self.up.shape[1], rank) and same_shape(self.shape(), shape)

    @property
    def scale(self) -> float:
        """alpha / rank; 1 without alpha."""
        return 1.0 if self.alpha is None else self.alpha / self.down.shape[0]

    def shape(self) -> Shape:
        """The shape of the change, (out, in) or (out, in, k, k)."""
        kernel = self.mid if self.mid is not None else self.down
        return (self.up.shape[0], self.down.shape[1], *kernel.shape[2:])

    def product(self, device: torch.device) -> Tensor:
        """Return up·down (or up·mid·down) in float32 in the shape of `shape`."""
        up, down = (factor.to(device, torch.float32).flatten(1) for factor in (self.up, self.down))
        if self.mid is None:
            return (up @ down).reshape(self.shape())
        return torch.einsum("oa,abkl,bi->oikl", up, self.mid.to(device, torch.float32), down)
