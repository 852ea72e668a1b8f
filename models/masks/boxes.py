"""Boxes around things that words name."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """corners: (N, 4), left, top, right, bottom in pixels. scores: (N,), 0..1. phrases: the words of each box."""

    corners: Tensor
    scores: Tensor
    phrases: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.corners)

    def grown(self, pixels: int, height: int, width: int) -> "Boxes":
        """Move every side outwards by so many pixels, inwards when negative, within the picture; boxes may vanish."""
        if pixels == 0:
            return self
        outwards = torch.tensor([-pixels, -pixels, pixels, pixels])
        corners = (self.corners + outwards).clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        left = [i for i, (x0, y0, x1, y1) in enumerate(corners.tolist()) if x1 > x0 and y1 > y0]
        return Boxes(corners[left], self.scores[left], tuple(self.phrases[i] for i in left))

    def filled(self, height: int, width: int) -> Tensor:
        """A mask (1, H, W) that is 1 inside of any box."""
        mask = torch.zeros(1, height, width)
        for x0, y0, x1, y1 in self.corners.round().int().clamp(min=0).tolist():
            mask[:, y0:y1, x0:x1] = 1.0
        return mask
