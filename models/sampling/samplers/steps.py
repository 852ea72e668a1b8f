"""The few moves that all samplers are made of, in Karras et al.'s sigma space."""

import math

from torch import Tensor


def slope(x: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """dx/dsigma of the probability-flow ODE: the direction away from the clean latent."""
    return (x - denoised) / sigma


def toward(x: Tensor, denoised: Tensor, share: float) -> Tensor:
    """Exponential integrator's first-order step: keep `share` of x, take the rest from the clean latent."""
    return denoised.lerp(x, share)


def ancestral_step(sigma: float, sigma_next: float, eta: float = 1.0) -> tuple[float, float]:
    """Split a step into a deterministic part down to sigma_down and fresh noise sigma_up (variances add up).

    A step up (a flipped schedule) has no room for noise.
    """
    if eta == 0 or sigma_next == 0 or sigma_next > sigma:
        return sigma_next, 0.0
    up = eta * math.sqrt(sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2)
    sigma_up = min(sigma_next, up)
    return math.sqrt(sigma_next**2 - sigma_up**2), sigma_up
