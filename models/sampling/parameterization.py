"""What a network's raw output says about the clean latent, and how noise level and timestep name each other.

Everything here is a host number: sigmas and timesteps are Python floats, so no sampler ever waits for a device
to learn where it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from operator import mul
from struct import pack, unpack
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v", "x0", "edm", "lcm"]

TRAINING_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012  # latent diffusion's "scaled linear" schedule, used by SD1 and SDXL
DISTILLED_STEPS = 50  # LCM and TCD were distilled on every 20th timestep
FULL_NOISE_TOLERANCE = 1e-5  # a first sigma this close to sigma_max counts as pure noise


def float32(value: float) -> float:
    """Round to the nearest float32, so that a float32 tensor of sigmas carries a schedule without loss."""
    return unpack("f", pack("f", value))[0]


@dataclass(frozen=True)
class Parameterization:
    """One network's noise scale.

    prediction: what the network returns. sigmas: its noise levels, ascending. stride: timesteps per table entry
    (entry i is timestep stride·(i+1) − 1). training_sigmas: the table of all training timesteps.
    continuous: the timestep is ln(sigma)/4 instead of an index (Karras et al. 2022, c_noise).
    """

    prediction: Prediction
    sigmas: tuple[float, ...]
    training_sigmas: tuple[float, ...]
    stride: int = 1
    sigma_data: float = 1.0
    continuous: bool = False

    @property
    def sigma_min(self) -> float:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> float:
        return self.sigmas[-1]

    @cached_property
    def log_sigmas(self) -> Tensor:
        """float32 on the CPU: ties between two timesteps then fall the way they do in the reference."""
        return torch.tensor(self.sigmas, dtype=torch.float32).log()

    def timestep(self, sigma: float) -> float:
        """The number the network is told for this sigma: the timestep whose log sigma is nearest."""
        if self.continuous:
            return 0.25 * math.log(sigma)
        distance = (torch.tensor(sigma, dtype=torch.float32).log() - self.log_sigmas).abs_()
        return float((int(distance.argmin()) + 1) * self.stride - 1)

    def sigma(self, timestep: float) -> float:
        """The sigma of a timestep, fractional ones too (log sigma interpolated linearly, ends clamped)."""
        if self.continuous:
            return math.exp(timestep / 0.25)
        position = min(max((timestep - (self.stride - 1)) / self.stride, 0.0), len(self.sigmas) - 1.0)
        low = int(position)
        if low == position:
            return self.sigmas[low]
        log_sigma = torch.lerp(self.log_sigmas[low], self.log_sigmas[low + 1], position - low)
        return float(log_sigma.exp())

    def percent_to_sigma(self, percent: float) -> float:
        """The sigma at which this share of the way from noise to image is done (0 → above all, 1 → 0)."""
        if percent <= 0:
            return 999999999.9
        if percent >= 1:
            return 0.0
        if self.continuous:
            span = math.log(self.sigma_max) - math.log(self.sigma_min)
            return math.exp(span * (1 - percent) + math.log(self.sigma_min))
        return self.sigma((1 - percent) * (TRAINING_STEPS - 1))

    def alpha_bar(self, timestep: int) -> float:
        """The share of signal in the variance at a training timestep: 1 / (1 + sigma²)."""
        return 1.0 / (1.0 + self.training_sigmas[timestep] ** 2)

    def input_scale(self, sigma: float) -> float:
        """What the noisy latent is multiplied by before the network sees it: unit variance."""
        return 1.0 / math.hypot(sigma, self.sigma_data)

    def noise_scale(self, sigma: float) -> float:
        """How much unit noise a start at this sigma carries; a start at sigma_max is meant to be pure noise."""
        pure = sigma >= self.sigma_max or math.isclose(sigma, self.sigma_max, rel_tol=FULL_NOISE_TOLERANCE)
        return math.sqrt(1.0 + sigma * sigma) if pure else sigma

    def denoised(self, x: Tensor, output: Tensor, sigma: float) -> Tensor:
        """The clean latent that the network's raw output stands for, in the dtype of x."""
        output = output.to(x.dtype)
        if self.prediction == "eps":
            return x - output * sigma
        if self.prediction == "x0":
            return output
        if self.prediction == "lcm":
            return self._consistency(x, x - output * sigma, sigma)
        variance, data = sigma * sigma + self.sigma_data**2, self.sigma_data
        sign = 1.0 if self.prediction == "edm" else -1.0
        return x * (data * data / variance) + output * (sign * sigma * data / math.sqrt(variance))

    def _consistency(self, x: Tensor, x0: Tensor, sigma: float) -> Tensor:
        """Latent Consistency Models (Luo et al. 2023), eq. 9 with timestep scaling 10 and sigma_data ½."""
        scaled = 10.0 * self.timestep(sigma)
        return x0 * (scaled / math.sqrt(scaled * scaled + 0.25)) + x * (0.25 / (scaled * scaled + 0.25))


@lru_cache(maxsize=1)
def training_table() -> tuple[float, ...]:
    """The 1000 sigmas of SD1 and SDXL: betas linear in their square root, √((1−ᾱ)/ᾱ), float64 then float32."""
    first, last = math.sqrt(BETA_START), math.sqrt(BETA_END)
    span = TRAINING_STEPS - 1
    alphas = (1.0 - (first + (last - first) * i / span) ** 2 for i in range(TRAINING_STEPS))
    return tuple(float32(math.sqrt((1.0 - bar) / bar)) for bar in accumulate(alphas, mul))


def discrete(prediction: Prediction = "eps", table: Sequence[float] | None = None) -> Parameterization:
    """The plain parameterization of a network trained on 1000 discrete timesteps."""
    sigmas = training_table() if table is None else tuple(table)
    return Parameterization(prediction, sigmas, sigmas)


def distilled(prediction: Prediction) -> Parameterization:
    """The 50 noise levels (t = 19, 39 … 999) on which LCM ("lcm") and TCD ("eps") were distilled."""
    full = training_table()
    stride = TRAINING_STEPS // DISTILLED_STEPS
    return Parameterization(prediction, full[stride - 1 :: stride], full, stride=stride)


def edm(sigma_min: float = 0.002, sigma_max: float = 120.0, sigma_data: float = 0.5) -> Parameterization:
    """Karras et al. 2022 as Playground v2.5 uses it: continuous, 1000 log-uniform levels for the discrete schedules."""
    table = torch.linspace(math.log(sigma_min), math.log(sigma_max), TRAINING_STEPS).exp().tolist()
    return Parameterization("edm", tuple(table), tuple(table), sigma_data=sigma_data, continuous=True)


ZERO_SNR_LAST_ALPHA_BAR = 4.8973451890853435e-08  # keeps the last sigma finite


def zero_terminal_snr(parameterization: Parameterization) -> Parameterization:
    """Rescale a table so that its last level is (almost) pure noise (Lin et al. 2023, algorithm 1)."""
    roots = [1.0 / math.sqrt(1.0 + sigma * sigma) for sigma in parameterization.training_sigmas]
    first, last = roots[0], roots[-1]
    bars = [((root - last) * first / (first - last)) ** 2 for root in roots]
    bars[-1] = ZERO_SNR_LAST_ALPHA_BAR
    return discrete(parameterization.prediction, [float32(math.sqrt((1 - bar) / bar)) for bar in bars])


def parameterization_for(prediction: str, schedule: str | None = None) -> Parameterization:
    """Choose by what the checkpoint predicts ("eps", "v", "x0") and by the schedule its patches ask for.

    schedule: None, "lcm", "tcd" or "edm_playground_v2.5". Raises ValueError for other words.
    """
    if schedule == "lcm":
        return distilled("lcm")
    if schedule == "tcd":
        return distilled("eps")
    if schedule == "edm_playground_v2.5":
        return edm()
    if schedule is not None:
        raise ValueError(f"unknown model schedule {schedule!r}; choose lcm, tcd or edm_playground_v2.5")
    if prediction == "eps":
        return discrete("eps")
    if prediction == "v":
        return discrete("v")
    if prediction == "x0":
        return discrete("x0")
    raise ValueError(f"unknown prediction {prediction!r}; choose eps, v or x0")
