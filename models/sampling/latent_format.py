"""Between the VAE's own latents and the unit-variance latents that the network was trained on."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LatentFormat:
    """model = (vae − mean)·scale/std per channel; mean and std are () where the format has none."""

    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def to_model(self, latent: Tensor) -> Tensor:
        if not self.mean:
            return latent * self.scale
        mean, std = self._statistics(latent)
        return (latent - mean) * self.scale / std

    def to_vae(self, latent: Tensor) -> Tensor:
        if not self.mean:
            return latent / self.scale
        mean, std = self._statistics(latent)
        return latent * std / self.scale + mean

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        def column(values: tuple[float, ...]) -> Tensor:
            return torch.tensor(values, dtype=latent.dtype).to(latent.device, non_blocking=True).view(1, -1, 1, 1)

        return column(self.mean), column(self.std)


SDXL = LatentFormat(0.13025)
SD1 = LatentFormat(0.18215)
PLAYGROUND_V2_5 = LatentFormat(
    0.5, mean=(-1.6574, 1.886, -1.383, 2.5155), std=(8.4927, 5.9022, 6.5498, 5.2299)
)  # from the model card of playground-v2.5-1024px-aesthetic


def latent_format_for(schedule: str | None, family: str = "sdxl") -> LatentFormat:
    """The latent space a model works in; SD 1.x has one of its own, and Playground v2.5."""
    if family == "sd1":
        return SD1
    return PLAYGROUND_V2_5 if schedule == "edm_playground_v2.5" else SDXL
