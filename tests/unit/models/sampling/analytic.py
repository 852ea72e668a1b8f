"""Data whose optimal denoiser is known, for tests: two Gaussians at ±1, and noise that can be replayed."""

import numpy as np
import torch
from torch import Tensor

from models.sampling.parameterization import Parameterization, discrete

SPREAD = 0.3  # standard deviation of each Gaussian


def clean_estimate(x: np.ndarray, sigma: float) -> np.ndarray:
    """The posterior mean of x0 ~ ½N(−1, s²) + ½N(1, s²) given x = x0 + sigma·n, in float64."""
    variance = SPREAD**2 + sigma**2
    sign = np.tanh(x / variance)
    return (SPREAD**2 * x + sigma**2 * sign) / variance


def negative_estimate(x: np.ndarray, sigma: float) -> np.ndarray:
    """Another distribution, N(½, s²), in the role of the negative branch."""
    return (SPREAD**2 * x + sigma**2 * 0.5) / (SPREAD**2 + sigma**2)


class AnalyticDenoiser:
    """The denoiser protocol around the formulas above; counts its evaluations."""

    def __init__(self, parameterization: Parameterization | None = None) -> None:
        self.parameterization = parameterization or discrete()
        self.evaluations = 0
        self.sigmas: list[float] = []

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        assert isinstance(sigma, float)
        self.evaluations += 1
        self.sigmas.append(sigma)
        return torch.from_numpy(clean_estimate(x.double().numpy(), sigma)).to(x.dtype)

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        return self(x, sigma), torch.from_numpy(negative_estimate(x.double().numpy(), sigma)).to(x.dtype)


SHAPE = (1, 4, 2, 3)


def start(sigma: float) -> Tensor:
    """A float64 latent at a noise level."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * (1 + sigma**2) ** 0.5


def replayed_noise(sigma: float, sigma_next: float) -> Tensor:
    """Noise that depends only on the step it is for, so that a reference can ask for the same."""
    seed = hash((round(sigma, 9), round(sigma_next, 9))) % 2**31
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
