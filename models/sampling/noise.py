"""Every random number of a run, from its seed alone and without touching torch's global generators.

Two policies decide where numbers come from; docs/explanation/sampling.md lists them side by side.

"fooocus": initial noise from a CPU generator. Ancestral noise continues that generator when sampling on the CPU, and
comes from a device generator with the same seed elsewhere. One Brownian tree on the device for every SDE sampler.
"comfy": ancestral noise from a device generator with the same seed (seed + 1 on the CPU, where it would otherwise
repeat the initial noise). Brownian trees on the CPU for the plain names and on the device for the `_gpu` names.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from models.sampling.protocol import Noise, Sampler

Policy = Literal["fooocus", "comfy"]

SEED_SPACE = 2**64  # seeds are unsigned 64-bit numbers; seed + 1 wraps
FOOOCUS_SEED_SPACE = 2**63 - 1
TREE_DIGITS = 6  # torchsde rounds the ends of its tree, and complains about queries beyond them


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device=device).manual_seed(seed % SEED_SPACE)


def send(drawn: Tensor, like: Tensor) -> Tensor:
    """Bring a draw to the device and dtype of the latent; from the CPU to a GPU through pinned memory, unawaited."""
    if drawn.device.type == "cpu" and like.is_cuda:
        drawn = drawn.pin_memory()
    return drawn.to(device=like.device, dtype=like.dtype, non_blocking=True)


def initial_noise(shape: Sequence[int], source: torch.Generator, batch_index: Sequence[int] | None = None) -> Tensor:
    """Unit normal float32 (B, C, h, w) on the CPU.

    batch_index: draw samples one after the other and keep these, so that a picture taken out of a batch keeps its
    noise; the same index twice gives the same noise twice.
    """
    if batch_index is None:
        return torch.randn(tuple(shape), generator=source, dtype=torch.float32)
    singles = [torch.randn((1, *shape[1:]), generator=source) for _ in range(max(batch_index) + 1)]
    return torch.cat([singles[index] for index in batch_index])


class IndependentNoise:
    """A fresh normal draw for every call."""

    def __init__(self, like: Tensor, source: torch.Generator) -> None:
        self._like, self._source = like, source

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        like = self._like
        drawn = torch.randn(like.shape, generator=self._source, device=self._source.device, dtype=torch.float32)
        return send(drawn, like)


class BrownianNoise:
    """Increments of one Brownian path over sigma, so that a step cut in two sees the same noise as the whole step.

    A step from σ to σ' gets (W(σ') − W(σ)) / √|σ' − σ|. The path ends at sigma_min and sigma_max: the part of a
    step beyond them adds nothing to the increment while the divisor stays that of the full step (Fooocus's rule).
    """

    def __init__(
        self, like: Tensor, sigma_min: float, sigma_max: float, seed: int, device: torch.device | str | None = None
    ) -> None:
        self._like, self._seed = like, seed
        self._low, self._high = sigma_min, sigma_max
        self._device = like.device if device is None else torch.device(device)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        low, high = round(self._low, TREE_DIGITS), round(self._high, TREE_DIGITS)
        first, last = (min(max(bound, low), high) for bound in sorted((sigma, sigma_next)))
        if first == last:
            return torch.zeros_like(self._like)
        increment = send(self._tree(first, last), self._like)
        sign = 1.0 if sigma_next > sigma else -1.0
        return increment * (sign / math.sqrt(abs(sigma_next - sigma)))

    @cached_property
    def _tree(self) -> Callable[[float, float], Any]:
        from torchsde import BrownianTree  # only SDE samplers need it

        start = torch.zeros(self._like.shape, dtype=torch.float32, device=self._device)
        low, high = torch.tensor(self._low), torch.tensor(self._high)
        return BrownianTree(low, start, high, entropy=self._seed)


def no_noise(sigma: float, sigma_next: float) -> Tensor:
    """The noise of deterministic samplers: asking for it is an error in the sampler's catalogue entry."""
    raise AssertionError("a sampler that declares no noise asked for some")


def sampler_noise(
    sampler: Sampler,
    like: Tensor,
    seed: int,
    policy: Policy,
    *,
    brownian_range: tuple[float, float],
    cpu_stream: torch.Generator,
) -> Noise:
    """The noise a sampler draws during a run.

    like: the latent, for shape, device and dtype. brownian_range: (smallest sigma above 0, largest sigma).
    cpu_stream: the generator that drew the initial noise.
    """
    if sampler.noise == "none":
        return no_noise
    if sampler.noise == "brownian":
        on_device = policy == "fooocus" or sampler.noise_on_device
        return BrownianNoise(like, *brownian_range, seed, device=like.device if on_device else "cpu")
    if like.device.type != "cpu":
        return IndependentNoise(like, generator(seed, like.device))
    return IndependentNoise(like, cpu_stream if policy == "fooocus" else generator(seed + 1))


def brownian_range(sigmas: Sequence[float]) -> tuple[float, float]:
    """The ends of the Brownian path for a schedule: its smallest sigma above 0 and its largest."""
    positive = [sigma for sigma in sigmas if sigma > 0]
    return min(positive), max(positive)
