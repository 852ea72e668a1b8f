"""Classifier-free guidance: how the estimates of the positive and the negative branch become one."""

import math

from torch import Tensor

from models.sampling.sharpness import anisotropic_filter

LAST_TIMESTEP = 999
SHARPNESS_UNIT = 0.001  # Fooocus's sharpness is given in thousandths


def is_unguided(cfg: float) -> bool:
    """Whether the negative branch has no influence, so that it need not be evaluated."""
    return math.isclose(cfg, 1.0)


def guide(positive: Tensor, negative: Tensor, cfg: float) -> Tensor:
    """Ho & Salimans 2022: negative + cfg·(positive − negative)."""
    return negative.lerp(positive, cfg)


def progress_at(timestep: float) -> float:
    """The share of the way from noise to image: 0 at timestep 999, 1 at 0."""
    return 1.0 - timestep / LAST_TIMESTEP


def guide_adaptively(
    x: Tensor, positive: Tensor, negative: Tensor, cfg: float, *, adaptive_cfg: float, sharpness: float, progress: float
) -> Tensor:
    """Fooocus's guidance: a smoothed positive branch early on, and a cfg that grows from adaptive_cfg to cfg.

    x, positive, negative: (B, 4, h, w), the noisy latent and both estimates of the clean one.
    """
    away_positive, away_negative = x - positive, x - negative
    alpha = SHARPNESS_UNIT * sharpness * progress
    if alpha != 0.0:
        away_positive = away_positive.lerp(anisotropic_filter(away_positive, positive), alpha)
    away = away_negative.lerp(away_positive, cfg)
    if cfg > adaptive_cfg:
        mimicked = away_negative.lerp(away_positive, adaptive_cfg)
        away = mimicked.lerp(away, progress)
    return x - away
