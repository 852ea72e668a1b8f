"""A UNet of one formula, in a real `Model`: whole runs can be checked by hand, or against recorded figures."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from models.sdxl import Model, ModelOptions

ADM_CHANNELS = 2816


def normal(seed: int, shape: tuple[int, ...]) -> Tensor:
    """The specification's R(seed, shape)."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class StandInUNet:
    """eps = 0.9u + 0.1·sin(3u + t/100) + 0.5·mean(context) + 0.1·mean(y); remembers what it was asked."""

    def __init__(self) -> None:
        self.emb_weight = torch.zeros(1)
        self.sizes = SimpleNamespace(adm_channels=ADM_CHANNELS, model_channels=320, context_dim=2048)
        self.timesteps: list[float] = []
        self.rows: list[int] = []
        self.lengths: list[int] = []
        self.inputs: list[Tensor] = []
        self.prepared = 0

    def prepare(self, context: Tensor) -> Tensor:
        self.prepared += 1
        return context

    def __call__(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor, *, freeu: Any = None) -> Tensor:
        assert len(x) == len(timesteps) == len(context) == len(y)
        self.timesteps.append(float(timesteps[0]))
        self.rows.append(len(x))
        self.lengths.append(context.shape[1])
        self.inputs.append(x)
        angle = 3 * x + timesteps.view(-1, 1, 1, 1) / 100
        return 0.9 * x + 0.1 * torch.sin(angle) + 0.5 * _mean(context) + 0.1 * _mean(y)


def _mean(rows: Tensor) -> Tensor:
    return rows.flatten(1).mean(1).view(-1, 1, 1, 1)


class AlwaysResident:
    """The part of `models.memory.Resident` that a run uses."""

    def __init__(self, network: StandInUNet) -> None:
        self.network, self.sizes, self.dtype = network, network.sizes, torch.float32

    @contextmanager
    def use(self, loras: Any = (), working_bytes: int = 0) -> Iterator[StandInUNet]:
        yield self.network


def stand_in_model(**options: Any) -> tuple[Model, StandInUNet]:
    network = StandInUNet()
    return Model(AlwaysResident(network), options=ModelOptions(**options)), network  # type: ignore[arg-type]


def conditioning(seed: int, tokens: int = 77, **facts: Any) -> list[list[Any]]:
    return [[normal(seed, (1, tokens, 2048)), {"pooled_output": normal(seed + 1, (1, 1280)), **facts}]]


def empty_latent(batch: int = 1, height: int = 12, width: int = 16) -> dict[str, Any]:
    return {"samples": torch.zeros(batch, 4, height, width)}
