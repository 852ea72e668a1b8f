"""The network of ESRGAN and Real-ESRGAN: residual-in-residual dense blocks between a few convolutions.

Wang et al. 2018, https://arxiv.org/abs/1809.00219 (network, figure 4); Wang et al. 2021, https://arxiv.org/abs/2107.10833
(pixel unshuffle for factors 2 and 1). Parameters carry Real-ESRGAN's names (`body.0.rdb1.conv1.weight`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the leaky ReLU
RESIDUAL = 0.2  # share of a block's output that is added to its input


@dataclass(frozen=True)
class RrdbSizes:
    """What differs between files. unshuffle: pixels per side folded into channels first, which lowers the factor."""

    features: int
    growth: int
    blocks: int
    doublings: int
    unshuffle: int = 1
    channels: int = 3

    @property
    def scale(self) -> int:
        """How many times larger the output is per side."""
        return 2**self.doublings // self.unshuffle


class RrdbNet(nn.Module):
    """Pictures (B, 3, H, W) in 0..1 → (B, 3, H · scale, W · scale), about 0..1."""

    def __init__(self, sizes: RrdbSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.features
        self.conv_first = _conv(sizes.channels * sizes.unshuffle**2, width)
        self.body = nn.ModuleList(ResidualDenseBlocks(width, sizes.growth) for _ in range(sizes.blocks))
        self.conv_body = _conv(width, width)
        self.conv_up = nn.ModuleList(_conv(width, width) for _ in range(sizes.doublings))
        self.conv_hr = _conv(width, width)
        self.conv_last = _conv(width, sizes.channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        factor = self.sizes.unshuffle
        x = _filled_up(x, factor)
        if factor > 1:
            x = F.pixel_unshuffle(x, factor)
        first = self.conv_first(x.contiguous(memory_format=torch.channels_last))
        h = first
        for block in self.body:
            h = block(h)
        h = first + self.conv_body(h)
        for conv in self.conv_up:
            h = _act(conv(F.interpolate(h, scale_factor=2, mode="nearest")))
        out = self.conv_last(_act(self.conv_hr(h)))
        return out[..., : height * self.sizes.scale, : width * self.sizes.scale]


class ResidualDenseBlocks(nn.Module):
    """Three dense blocks and a shortcut around them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=RESIDUAL)


class DenseBlock(nn.Module):
    """Five convolutions, each over the input and all outputs before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, growth)
        self.conv2 = _conv(features + growth, growth)
        self.conv3 = _conv(features + 2 * growth, growth)
        self.conv4 = _conv(features + 3 * growth, growth)
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, _act(conv(seen))), dim=1)
        return torch.add(x, self.conv5(seen), alpha=RESIDUAL)


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)


def _filled_up(x: Tensor, multiple: int) -> Tensor:
    """Mirror the right and bottom edge until both sides are multiples; very small pictures repeat their edge."""
    right, bottom = -x.shape[-1] % multiple, -x.shape[-2] % multiple
    if not right and not bottom:
        return x
    mirrored = right < x.shape[-1] and bottom < x.shape[-2]
    return F.pad(x, (0, right, 0, bottom), mode="reflect" if mirrored else "replicate")
