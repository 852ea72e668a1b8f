"""The change that one LoRA layer makes to one weight.

Hu et al. 2021, https://arxiv.org/abs/2106.09685; DoRA: Liu et al. 2024, https://arxiv.org/abs/2402.09353; factored
convolutions: LyCORIS, https://arxiv.org/abs/2309.14859.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LoraDelta:
    """The change of one weight. up (out, R), down (R, in[, k, k]), mid (R, R, k, k) of a factored convolution."""

    up: Tensor
    down: Tensor
    mid: Tensor | None = None
    alpha: float | None = None
    dora_scale: Tensor | None = None

    def __call__(self, weight: Tensor, base: Tensor, strength: float) -> Tensor:
        """Return weight + strength · alpha/R · up·down, float32; with DoRA, moved towards the rescaled sum."""
        difference = self.product(weight.device).reshape(weight.shape) * self.scale
        if self.dora_scale is None:
            return weight + strength * difference
        return weight + strength * (self._rescaled(weight + difference) - weight)

    @property
    def scale(self) -> float:
        """alpha / rank; 1 without alpha."""
        return 1.0 if self.alpha is None else self.alpha / self.down.shape[0]

    def shape(self) -> tuple[int, ...]:
        """The shape of the change, (out, in) or (out, in, k, k)."""
        kernel = self.mid if self.mid is not None else self.down
        return (self.up.shape[0], self.down.shape[1], *kernel.shape[2:])

    def product(self, device: torch.device) -> Tensor:
        """Return up·down (or up·mid·down) in float32 in the shape of `shape`."""
        up, down = (factor.to(device, torch.float32).flatten(1) for factor in (self.up, self.down))
        if self.mid is None:
            return (up @ down).reshape(self.shape())
        return torch.einsum("oa,abkl,bi->oikl", up, self.mid.to(device, torch.float32), down)

    def _rescaled(self, weight: Tensor) -> Tensor:
        """Give each column (or row, as dora_scale's shape says) of a weight the learned length."""
        assert self.dora_scale is not None
        scale = self.dora_scale.to(weight.device, torch.float32)
        matrix = weight.flatten(1)
        if scale.ndim == 1 or scale.shape[0] == weight.shape[0]:  # one length per output
            lengths = matrix.norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
            return weight * scale.reshape(lengths.shape) / lengths
        lengths = weight.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (weight.ndim - 2))
        return weight * scale.reshape(lengths.shape) / lengths
