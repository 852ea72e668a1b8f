"""FreeU, second version: stronger backbone features, weaker skip features in the first stages of the decoder.

Si et al. 2023, https://arxiv.org/abs/2309.11497, with the structure-related scaling of its authors' later code.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SKIP_HALF_WIDTH = 1  # of the square of low frequencies that is scaled


@dataclass(frozen=True)
class FreeU:
    """Backbone factors b1 (4 × model channels) and b2 (2 ×), skip factors s1 and s2."""

    b1: float
    b2: float
    s1: float
    s2: float

    def apply(self, h: Tensor, skip: Tensor, model_channels: int) -> tuple[Tensor, Tensor]:
        """Scale one decoder block's inputs: backbone h (B, C, H, W) and its skip connection."""
        factors = {4 * model_channels: (self.b1, self.s1), 2 * model_channels: (self.b2, self.s2)}
        if h.shape[1] not in factors:
            return h, skip
        backbone, low = factors[h.shape[1]]
        return _scale_backbone(h, backbone), scale_low_frequencies(skip, low)


def _scale_backbone(h: Tensor, factor: float) -> Tensor:
    """Multiply the first half of the channels by 1 … factor, following the mean feature map normalised to 0..1."""
    mean = h.float().mean(1, keepdim=True)
    low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    gain = ((factor - 1) * (mean - low) / (high - low) + 1).to(h.dtype)
    half = h.shape[1] // 2
    return torch.cat((h[:, :half] * gain, h[:, half:]), dim=1)


def scale_low_frequencies(x: Tensor, factor: float) -> Tensor:
    """Multiply the centre square of the shifted spectrum of x (B, C, H, W); computed in float32."""
    spectrum = torch.fft.fftshift(torch.fft.fftn(x.float(), dim=(-2, -1)), dim=(-2, -1))
    row, column = x.shape[-2] // 2, x.shape[-1] // 2
    n = SKIP_HALF_WIDTH
    spectrum[..., max(0, row - n) : row + n, max(0, column - n) : column + n] *= factor
    return torch.fft.ifftn(torch.fft.ifftshift(spectrum, dim=(-2, -1)), dim=(-2, -1)).real.to(x.dtype)
