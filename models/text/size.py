"""SDXL's size conditioning: six numbers, each a sinusoid, beside the pooled text.

Podell et al. 2023, https://arxiv.org/abs/2307.01952, §2.2; the sinusoid is that of the timestep, cosines first.
Fooocus varies the original size by branch and time (fooocus-behaviour §2.10).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MAX_PERIOD = 10_000
LAST_TIMESTEP = 999


class SizeNumbers(NamedTuple):
    """What the model is told of the picture it makes, in pixels."""

    height: int
    width: int
    crop_top: int
    crop_left: int
    target_height: int
    target_width: int

    @classmethod
    def plain(cls, height: int, width: int) -> "SizeNumbers":
        """Describe an uncropped picture of its own size."""
        return cls(height, width, 0, 0, height, width)

    @classmethod
    def emphasised(cls, height: int, width: int, scale: float) -> "SizeNumbers":
        """Claim an original `scale` times the size; the target is the size to the nearest 64, halves to even."""
        target = cls.consistent(height, width)
        return target._replace(height=int(height * scale), width=int(width * scale))

    @classmethod
    def consistent(cls, height: int, width: int) -> "SizeNumbers":
        """Describe a picture of the size to the nearest 64."""
        height, width = round(height / 64) * 64, round(width / 64) * 64
        return cls(height, width, 0, 0, height, width)


class RefinerNumbers(NamedTuple):
    """What SDXL's refiner is told: the picture's size in pixels, its crop, and how well people like it (0..10)."""

    height: int
    width: int
    crop_top: int
    crop_left: int
    aesthetic_score: float


LIKED, DISLIKED = 6.0, 2.5  # aesthetic scores of the positive and the negative prompt


def emphasis_applies(timestep: float, end: float) -> bool:
    """Tell whether the emphasised numbers hold at a timestep (0..999); end is the share of the run, 0 = never."""
    return timestep > LAST_TIMESTEP * (1.0 - end)


def size_embedding(numbers: SizeNumbers | RefinerNumbers, embed_dim: int) -> Tensor:
    """Return (numbers * embed_dim,) float32: for each number cos then sin over embed_dim / 2 frequencies."""
    half = embed_dim // 2
    frequencies = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half)
    angles = torch.tensor(numbers, dtype=torch.float32)[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).flatten()


def size_vector(pooled: Tensor, numbers: SizeNumbers | RefinerNumbers, adm_channels: int) -> Tensor:
    """Return what the UNet takes as `y`: pooled (B, P) and the size embedding, (B, adm_channels).

    The embedding's width follows from the UNet: (adm_channels - P) / 6, 256 in the published model; / 5 in the refiner.
    """
    embed_dim, rest = divmod(adm_channels - pooled.shape[-1], len(numbers))
    if rest or embed_dim <= 0:
        raise ValueError(f"a UNet with {adm_channels} size channels does not fit a pooled text of {pooled.shape[-1]}")
    sizes = size_embedding(numbers, embed_dim).to(pooled)
    return torch.cat([pooled, sizes.expand(len(pooled), -1)], dim=-1)
