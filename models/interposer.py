"""The interposer: a small network from SDXL's latents to those of SD 1.x (Fooocus behaviour §4.7)."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.errors import BadModelFile
from models.formats.family import kind_of
from models.formats.pickled import open_either
from models.formats.plan import Plan, Source, check_plan, fill, plan_shapes
from models.formats.weights import WeightFile
from models.memory import Loader, Residency, Resident


@dataclass(frozen=True)
class InterposerSizes:
    """As read from the tensors."""

    channels_in: int
    channels_out: int
    width: int
    blocks: int


class InterposerNet(nn.Module):
    """Unscaled latents (B, 4, h, w) → unscaled latents of the other family."""

    def __init__(self, sizes: InterposerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.head = nn.ModuleDict({"short": _conv(sizes.channels_in, width), "long": _long(sizes.channels_in, width)})
        blocks = [nn.ModuleDict({"norm": FixedNorm(width), "long": _long(width, width)}) for _ in range(sizes.blocks)]
        # The published network counts an upsampling by 1 in front of the blocks.
        self.core = nn.ModuleList([nn.Identity(), *blocks, FixedNorm(width)])
        self.tail = _conv(width, sizes.channels_out)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(_run(self.head["long"], x) + self.head["short"](x))
        for block in self.core[1:-1]:
            normed = block["norm"](h)  # pyright: ignore[reportIndexIssue] (a ModuleDict)
            h = F.relu(_run(block["long"], normed) + normed)  # pyright: ignore[reportIndexIssue]
        return self.tail(F.silu(self.core[-1](h)))


class FixedNorm(nn.Module):
    """Batch normalisation with the statistics of training."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        for name in ("weight", "bias", "running_mean", "running_var"):
            setattr(self, name, nn.Parameter(torch.empty(channels)))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)  # pyright: ignore[reportArgumentType]


def _conv(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


def _long(channels_in: int, width: int) -> nn.ModuleList:
    return nn.ModuleList([_conv(channels_in, width), nn.SiLU(), _conv(width, width), nn.SiLU(), _conv(width, width)])


def _run(stages: nn.Module, x: Tensor) -> Tensor:
    for stage in stages:  # pyright: ignore[reportGeneralTypeIssues] (a ModuleList)
        x = stage(x)
    return x


@dataclass(frozen=True)
class Interposer:
    """An interposer as a value: the INTERPOSER socket."""

    module: Resident

    def convert(self, samples: Tensor) -> Tensor:
        """Turn unscaled latents (B, 4, h, w) of SDXL into those of SD 1.x; float32 on the CPU."""
        with torch.inference_mode(), self.module.use() as network:
            like = network.tail.weight
            return network(samples.to(like.device, like.dtype)).float().cpu().clone()


def load_interposer(path: str | Path, residency: Residency) -> Interposer:
    """Open an interposer's file; its weights are read at the first use. Raises BadModelFile."""
    path = Path(path)
    with open_either(path) as file:
        sizes, plan = _plan(file)
        status = path.stat()
        key = (str(path.resolve()), status.st_size, status.st_mtime_ns, "interposer")
        resident = residency.load(key, Loader("interposer", lambda: InterposerNet(sizes), lambda m: _fill(m, path)))
        check_plan(file, {name: place.shape for name, place in resident.arena.places.items()}, plan)
    return Interposer(resident)


def _fill(module: nn.Module, path: Path) -> None:
    with open_either(path) as file:
        fill(module, file, _plan(file)[1])


def _plan(file: WeightFile) -> tuple[InterposerSizes, Plan]:
    plan: Plan = {name: Source(name) for name in file.tensors}
    shapes = plan_shapes(file, plan)
    try:
        width, channels_in = shapes["head.short.weight"][:2]
        out = shapes["tail.weight"][0]
    except (KeyError, ValueError) as error:
        kind = kind_of(file.tensors)
        fault = f"is {kind.name if kind else 'something unknown'}, not an interposer"
        raise BadModelFile(file.path, fault, "Use xl-to-v1_interposer-v4.0.safetensors.") from error
    numbers = [int(match[1]) for name in shapes if (match := re.match(r"core\.(\d+)\.long\.0\.weight", name))]
    last = max(numbers, default=0)
    # Behind the blocks stand a norm and an activation; ours has the norm alone, under the same number.
    return InterposerSizes(channels_in, out, width, last), plan
