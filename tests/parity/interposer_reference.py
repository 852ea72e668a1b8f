"""The interposer between SDXL's latents and SD 1.5's: the published layout, and the network of torch's own layers."""

import torch
from torch import Tensor, nn


def interposer_shapes(width: int = 64, blocks: int = 12) -> dict[str, tuple[int, ...]]:
    """Names as fooocus-behaviour §4.7 lists them; width and blocks are the published ones."""
    found: dict[str, tuple[int, ...]] = {}

    def conv(name: str, channels_in: int, channels_out: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = (channels_out, channels_in, 3, 3), (channels_out,)

    def norm(name: str) -> None:
        found.update({f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")})

    conv("head.short", 4, width)
    for place, channels_in in ((0, 4), (2, width), (4, width)):
        conv(f"head.long.{place}", channels_in, width)
    for block in range(1, blocks + 1):
        norm(f"core.{block}.norm")
        for place in (0, 2, 4):
            conv(f"core.{block}.long.{place}", width, width)
    norm(f"core.{blocks + 1}")
    conv("tail", width, 4)
    return found


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.long = nn.BatchNorm2d(width), long(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.relu(self.long(x) + x)


class Head(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.short, self.long = nn.Conv2d(4, width, 3, padding=1), long(4, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.long(x) + self.short(x))


def long(channels_in: int, width: int) -> nn.Sequential:
    first, second, third = (nn.Conv2d(channels, width, 3, padding=1) for channels in (channels_in, width, width))
    return nn.Sequential(first, nn.SiLU(), second, nn.SiLU(), third, nn.Dropout(0.1))


class Interposer(nn.Module):
    """Latents of one model, (B, 4, H, W), to those of the other."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.head = Head(width)
        inner = (Block(width) for _ in range(blocks))
        self.core = nn.Sequential(nn.Upsample(scale_factor=1.0), *inner, nn.BatchNorm2d(width), nn.SiLU())
        self.tail = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.core(self.head(x)))
