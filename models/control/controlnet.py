"""The ControlNet of SDXL, in the names of the LDM files: the UNet's own encoder, which also sees a control picture.

Zhang et al. 2023, "Adding conditional control to text-to-image diffusion models", https://arxiv.org/abs/2302.05543.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.layers import Pointwise
from models.unet import Injections, UNet, UNetSizes, run_stage
from models.unet_blocks import PreparedContext


@dataclass(frozen=True)
class UnionSizes:
    """types: kinds of pictures. layers, hidden: of the transformer. flags: width of a kind's sinusoids."""

    types: int
    layers: int
    hidden: int
    flags: int


@dataclass(frozen=True)
class ControlNetSizes:
    """encoder: the UNet's sizes without its outputs. hints: channels in and out of each convolution on the picture.

    union: for a network of several kinds of pictures.
    """

    encoder: UNetSizes
    hints: tuple[tuple[int, int], ...]
    union: UnionSizes | None = None


class ControlNet(UNet):
    """`net(x, timesteps, context, y, features)` gives what is added to a UNet's skips and after its middle block."""

    def __init__(self, sizes: ControlNetSizes) -> None:
        super().__init__(replace(sizes.encoder, outputs=()))
        del self.out
        self.input_hint_block = nn.Sequential(*_hint_layers(sizes.hints))
        widths = [sizes.encoder.model_channels, *(block.channels_out for block in sizes.encoder.inputs)]
        self.zero_convs = nn.ModuleList(nn.ModuleList([Pointwise(width, width)]) for width in widths)
        middle = sizes.encoder.middle.channels_out
        self.middle_block_out = nn.ModuleList([Pointwise(middle, middle)])

    def read_hint(self, hint: Tensor, types: tuple[int, ...] = ()) -> Tensor:
        """Turn control pictures (B, 3, 8h, 8w), 0..1, into features (B, C, h, w): once per run.

        types: kinds of pictures, for networks that know several (`models.control.union`).
        """
        return self.input_hint_block(hint.to(self.emb_weight.dtype, memory_format=torch.channels_last))

    def type_shift(self, types: tuple[int, ...]) -> Tensor | None:
        """Return what kinds of pictures add to the time embedding: nothing for a network of one kind."""
        return None

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] (another network on the same parts)
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | PreparedContext,
        y: Tensor,
        features: Tensor,
        shift: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Return one tensor per input block of the UNet, the stem included, and one for its middle.

        features: from `read_hint`, of the batch of x or 1. shift: from `type_shift`. The rest as for the UNet.
        """
        prepared = context if isinstance(context, PreparedContext) else self.prepare(context)
        emb = self._embed(timesteps, y, shift)
        h = x.to(self.emb_weight.dtype, memory_format=torch.channels_last)
        h, skips = self._descend(h, emb, prepared, Injections(stem=features))
        for stage in self.middle_block:
            h = run_stage(stage, h, emb, prepared)
        outputs = [conv[0](skip) for conv, skip in zip(self.zero_convs, skips, strict=True)]  # pyright: ignore[reportIndexIssue]
        return outputs, self.middle_block_out[0](h)


def _hint_layers(hints: tuple[tuple[int, int], ...]) -> list[nn.Module]:
    """Convolutions with SiLU between them; every second one halves, so that three of eight make a latent's size."""
    layers: list[nn.Module] = []
    for index, (channels_in, channels_out) in enumerate(hints):
        halves = index % 2 == 0 and 0 < index < len(hints) - 1
        layers += [nn.Conv2d(channels_in, channels_out, 3, stride=2 if halves else 1, padding=1), nn.SiLU()]
    return layers[:-1]


def reduced(outputs: list[Tensor], middle: Tensor, strength: float, softness: float) -> Injections:
    """Weigh a ControlNet's outputs (Fooocus behaviour §4.10). softness, 0..1: how much less the finest count."""
    count = len(outputs)
    factors = [strength * softened(index, count, softness) for index in range(count)]
    skips = tuple(output * factor for output, factor in zip(outputs, factors, strict=True))
    return Injections(skips=skips, middle=middle * strength)


def softened(index: int, count: int, softness: float) -> float:
    """The factor of output `index`, 0..count; the last one, the middle's, is 1."""
    return 1.0 - softness * (1.0 - index / count)


def summed(parts: list[Injections]) -> Injections:
    """Add what several ControlNets say."""
    first, *others = parts
    for other in others:
        skips = tuple(_sum(a, b) for a, b in zip(first.skips, other.skips, strict=True))
        first = Injections(skips=skips, middle=_sum(first.middle, other.middle))
    return first


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b
