"""A small picture of a latent while it is being made: one 4×3 matrix, no decoder, no waiting."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

Factors = Sequence[Sequence[float]]

SDXL_RGB: Factors = (  # red, green, blue in −1 … 1 per unit of each latent channel
    (0.3920, 0.4054, 0.4549),
    (-0.2634, -0.0196, 0.0653),
    (0.0568, 0.1687, -0.0755),
    (-0.3112, -0.2359, -0.2076),
)
NO_BIAS = (0.0, 0.0, 0.0)


def latent_to_rgb(latent: Tensor, factors: Factors = SDXL_RGB, bias: Sequence[float] = NO_BIAS) -> Tensor:
    """The first picture of a latent (B, 4, h, w), in the model's space, as uint8 (h, w, 3) on the same device.

    factors: 4 rows of red, green, blue. bias: their value at 0.
    """
    table = tuple(tuple(row) for row in (*factors, bias))
    matrix = _matrix(table, latent.device)
    rgb = torch.addmm(matrix[-1], latent[0].float().permute(1, 2, 0).flatten(0, 1), matrix[:-1])
    rgb = rgb.view(*latent.shape[2:], 3)
    return rgb.add_(1.0).mul_(127.5).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=8)
def _matrix(table: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Factors and, as the last row, bias on the device; sent there once, not at every step."""
    return torch.tensor(table, dtype=torch.float32, device=device)


@dataclass(eq=False)
class _Copy:
    """A picture on its way to the host: complete once the event has passed."""

    pixels: Tensor
    done: "torch.cuda.Event | None"

    @property
    def ready(self) -> bool:
        return self.done is None or self.done.query()


class Previewer:
    """Turns estimates into pictures without ever waiting for the device.

    `submit` starts a picture, `take` gives the newest one that has arrived: on a CPU at once, on a GPU usually a step
    later. How often to submit is the caller's choice.
    """

    def __init__(self, factors: Factors = SDXL_RGB, bias: Sequence[float] = NO_BIAS) -> None:
        self._factors, self._bias = factors, bias
        self._pending: list[_Copy] = []
        self._stream: torch.cuda.Stream | None = None

    def submit(self, denoised: Tensor) -> None:
        """Start a picture of a latent (B, 4, h, w) in the model's space."""
        pixels = latent_to_rgb(denoised, self._factors, self._bias)
        self._pending.append(self._copy(pixels) if pixels.is_cuda else _Copy(pixels, None))

    def take(self) -> "np.ndarray | None":
        """The newest picture that has arrived, uint8 (h, w, 3), once; None while there is no new one."""
        arrived = [copy for copy in self._pending if copy.ready]
        if not arrived:
            return None
        self._pending = self._pending[self._pending.index(arrived[-1]) + 1 :]
        return arrived[-1].pixels.numpy()

    def _copy(self, pixels: Tensor) -> _Copy:
        stream = self._stream = self._stream or torch.cuda.Stream(pixels.device)
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        stream.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(stream):
            host.copy_(pixels, non_blocking=True)
            pixels.record_stream(stream)
            done = torch.cuda.Event()
            done.record(stream)
        return _Copy(host, done)
