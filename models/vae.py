"""The KL autoencoder, 8× per side, in the names of the published single files (`decoder.up.3.block.0.conv1.weight` …).

Rombach et al. 2022, https://arxiv.org/abs/2112.10752.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import Pointwise, Upsample

LOGVAR_RANGE = (-30.0, 20.0)  # of the published encoder


@dataclass(frozen=True)
class VaeSizes:
    """What differs between VAEs of this family. The norm groups cannot be seen in the tensors."""

    widths: tuple[int, ...]  # per level, finest first
    encoder_blocks: int  # residual blocks per level
    decoder_blocks: int
    latent_channels: int
    norm_groups: int = 32


class AutoencoderKL(nn.Module):
    """Pixels (B, 3, H, W) in -1..1 ↔ latents (B, 4, H/8, W/8), unscaled."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.downscale = 2 ** (len(sizes.widths) - 1)
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)
        self.quant_conv = Pointwise(2 * sizes.latent_channels, 2 * sizes.latent_channels)
        self.post_quant_conv = Pointwise(sizes.latent_channels, sizes.latent_channels)

    def encode(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the mean of the latent distribution, or with unit noise (B, 4, H/8, W/8) a sample of it."""
        mean, logvar = self.quant_conv(self.encoder(_channels_last(pixels))).chunk(2, dim=1)
        if noise is None:
            return mean
        return mean + torch.exp(0.5 * logvar.clamp(*LOGVAR_RANGE)) * noise

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels, about -1..1."""
        return self.decoder(self.post_quant_conv(_channels_last(latents)))


class Encoder(nn.Module):
    """Pixels → moments (B, 2·4, H/8, W/8)."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        widths, groups = sizes.widths, sizes.norm_groups
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(
                _chain(widths[max(0, i - 1)], width, sizes.encoder_blocks),
                groups,
                "downsample" if i + 1 < len(widths) else None,
            )
            for i, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1], groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 2 * sizes.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        h = self.mid(h)
        return self.conv_out(F.silu(self.norm_out(h), inplace=True))


class Decoder(nn.Module):
    """Latents → pixels. `up` is stored finest level first and run coarsest first."""

    def __init__(self, sizes: VaeSizes) -> None:
        super().__init__()
        widths, groups = sizes.widths, sizes.norm_groups
        self.conv_in = nn.Conv2d(sizes.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], groups)
        self.up = nn.ModuleList(
            Level(
                _chain(widths[min(i + 1, len(widths) - 1)], width, sizes.decoder_blocks),
                groups,
                "upsample" if i else None,
            )
            for i, width in enumerate(widths)
        )
        self.norm_out = nn.GroupNorm(groups, widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(self.up):  # pyright: ignore[reportArgumentType] (ModuleList is a sequence)
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h), inplace=True))


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution."""

    def __init__(self, channels: list[tuple[int, int]], groups: int, resample: str | None) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResBlock(a, b, groups) for a, b in channels)
        width = channels[-1][1]
        if resample == "downsample":
            self.downsample = Downsample(width)
        elif resample == "upsample":
            self.upsample = Upsample(width)
        self._resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return getattr(self, self._resample)(x) if self._resample else x


class ResBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=1e-6)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=1e-6)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.nin_shortcut = Pointwise(channels_in, channels_out) if channels_in != channels_out else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        h += x if self.nin_shortcut is None else self.nin_shortcut(x)
        return h


class Middle(nn.Module):
    """Residual block, attention, residual block."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResBlock(width, width, groups)
        self.attn_1 = PixelAttention(width, groups)
        self.block_2 = ResBlock(width, width, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class PixelAttention(nn.Module):
    """One-head attention over all pixels. The file's 1×1 convolutions are used as matrices."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(batch, 1, height * width, channels)
        h = F.scaled_dot_product_attention(self.q(tokens), self.k(tokens), self.v(tokens))
        return self.proj_out(h).view(batch, height, width, channels).permute(0, 3, 1, 2) + x


class Downsample(nn.Module):
    """Halve; the padding is on the right and the bottom only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def _chain(first: int, width: int, blocks: int) -> list[tuple[int, int]]:
    return [(first if i == 0 else width, width) for i in range(blocks)]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
