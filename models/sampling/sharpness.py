"""The anisotropic filter behind Fooocus's sharpness: a joint bilateral filter of one latent guided by another."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

WINDOW = 13
SIGMA_RANGE = 3.0
SIGMA_SPACE = 3.0
CHUNK_BYTES = {"cpu": 2**20, "cuda": 64 * 2**20}  # of one window tensor: cache-sized, or few large kernels


def anisotropic_filter(x: Tensor, guide: Tensor) -> Tensor:
    """Average x (B, C, h, w) over 13×13 windows, weighing neighbours by distance and by likeness in the guide.

    The guide is normalised per sample; likeness is exp(−d²/18) with d the L1 distance over channels, space a Gaussian
    of sigma 3. Borders are reflected.
    """
    pad = WINDOW // 2
    std, mean = torch.std_mean(guide, dim=(1, 2, 3), keepdim=True)
    guide = (guide - mean) / (std + 1e-5)
    x_windows, guide_windows = (_windows(F.pad(t, (pad,) * 4, mode="reflect")) for t in (x, guide))
    space = _space_kernel(x.device, x.dtype)
    row_bytes = x.numel() * WINDOW * x.element_size()
    rows = max(1, CHUNK_BYTES.get(x.device.type, CHUNK_BYTES["cuda"]) // max(1, row_bytes))
    total = torch.zeros_like(x)
    weights = torch.zeros_like(x[:, :1])
    for first in range(0, WINDOW, rows):
        part = slice(first, first + rows)
        distance = (guide_windows[..., part, :] - guide[..., None, None]).abs_().sum(1, keepdim=True)
        kernel = distance.square_().mul_(-0.5 / SIGMA_RANGE**2).exp_().mul_(space[part])
        total += (x_windows[..., part, :] * kernel).sum((-2, -1))
        weights += kernel.sum((-2, -1))
    return total / weights


def _windows(padded: Tensor) -> Tensor:
    """View (B, C, h+12, w+12) as (B, C, h, w, 13, 13) without copying."""
    return padded.unfold(2, WINDOW, 1).unfold(3, WINDOW, 1)


@lru_cache(maxsize=4)
def _space_kernel(device: torch.device, dtype: torch.dtype) -> Tensor:
    taps = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    gaussian = torch.exp(-0.5 * (taps / SIGMA_SPACE) ** 2)
    gaussian = gaussian / gaussian.sum()
    return torch.outer(gaussian, gaussian).to(device=device, dtype=dtype)
