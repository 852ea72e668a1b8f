"""Layers that the UNet and the autoencoder share. Activations are (B, C, H, W) in channels_last memory."""

from torch import Tensor, nn
from torch.nn import functional as F


class Pointwise(nn.Linear):
    """A 1×1 convolution as a matrix product over the pixels: files store its weight as (out, in, 1, 1) or (out, in)."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W)."""
        return F.linear(input.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class Upsample(nn.Module):
    """Double by nearest neighbours and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """(B, C, H, W) → (B, C, 2H, 2W), or `size`: one row or column less where the encoder had an odd one."""
        if size is None or size == (2 * x.shape[-2], 2 * x.shape[-1]):
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv(F.interpolate(x, size=size, mode="nearest"))
