"""Sampling only a part of the picture: the rest is held at the original latent, noised to the current sigma."""

from collections.abc import Callable

import torch
from torch import Tensor

from models.sampling.noise import FOOOCUS_SEED_SPACE, generator, send
from models.sampling.protocol import Denoiser

MaskingNoise = Callable[[], Tensor]


class MaskedDenoiser:
    """Blend the kept area in before every evaluation, and out of the estimate after it.

    mask: (B or 1, 1, h, w), 1 = repaint. original: the clean latent in the model's space. noise: unit noise for the
    kept area, asked for once per evaluation.
    """

    def __init__(self, inner: Denoiser, mask: Tensor, original: Tensor, noise: MaskingNoise) -> None:
        self.parameterization = inner.parameterization
        self._inner, self._mask, self._noise = inner, mask, noise
        self._original, self._kept = original, original * (1 - mask)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self._blend(self._inner(self._noised(x, sigma), sigma))

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        denoised, negative = self._inner.with_negative(self._noised(x, sigma), sigma)
        return self._blend(denoised), negative

    def _noised(self, x: Tensor, sigma: float) -> Tensor:
        return (self._original + self._noise() * sigma).lerp(x, self._mask)

    def _blend(self, denoised: Tensor) -> Tensor:
        return denoised * self._mask + self._kept


def constant(noise: Tensor) -> MaskingNoise:
    """ComfyUI's rule: the same noise at every evaluation."""
    return lambda: noise


def fresh(like: Tensor, seed: int) -> MaskingNoise:
    """Fooocus's rule: a new CPU draw at every evaluation, from a generator of its own seeded with seed + 1."""
    source = generator((seed + 1) % FOOOCUS_SEED_SPACE)

    def draw() -> Tensor:
        return send(torch.randn(like.shape, generator=source), like)

    return draw
