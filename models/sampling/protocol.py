"""The words samplers speak: a denoiser, a noise, a callback, and the sampler itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from models.sampling.parameterization import Parameterization


class Denoiser(Protocol):
    """Any model as k-diffusion sees it: a noisy latent and its sigma in, the clean latent out."""

    parameterization: Parameterization

    def __call__(self, x: Tensor, sigma: float) -> Tensor: ...

    def with_negative(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """The guided estimate and the negative branch's own (evaluated even where guidance is 1), for CFG++."""
        ...


Noise = Callable[[float, float], Tensor]
"""Unit-variance noise, shaped like the latent, for a step from the first sigma to the second."""

Callback = Callable[[int, int, Tensor, Tensor], None]
"""(step, total, x, denoised), once per step right after its first model evaluation; may raise to stop the run."""

NoiseKind = Literal["none", "independent", "brownian"]


class SamplerFunction(Protocol):
    def __call__(
        self, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback
    ) -> Tensor: ...


@dataclass(frozen=True)
class Sampler:
    """A named sampler and what a run must know about it before it starts.

    noise: where its random numbers come from. noise_on_device: the Brownian tree lives on the latent's device under
    every policy (the `_gpu` names). drop_penultimate: KSampler schedules one step more for it and leaves out the last
    sigma but one. second_masking_noise: in ComfyUI it paints the kept area with a noise of its own (ddim).
    """

    name: str
    function: SamplerFunction
    noise: NoiseKind = "none"
    noise_on_device: bool = False
    drop_penultimate: bool = False
    second_masking_noise: bool = False

    def __call__(
        self, denoise: Denoiser, x: Tensor, sigmas: Sequence[float], *, noise: Noise, callback: Callback
    ) -> Tensor:
        return self.function(denoise, x, sigmas, noise=noise, callback=callback)


def ignore_progress(step: int, total: int, x: Tensor, denoised: Tensor) -> None:
    """A callback for runs that nobody watches."""
