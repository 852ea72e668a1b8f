"""The UNet of SDXL, its refiner and SD 1.x, for inference, in the names of the published single files
(`input_blocks.1.0.in_layers.0.weight` …).

Activations are (B, C, H, W) in channels_last memory, so that tokens (B, H·W, C) of the transformers are views of them.
Architecture: Podell et al. 2023, "SDXL", https://arxiv.org/abs/2307.01952; SD 1.x is the same with other sizes, eight
heads and no size conditioning (Rombach et al. 2022, https://arxiv.org/abs/2112.10752).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.freeu import FreeU
from models.layers import Upsample
from models.unet_blocks import (
    GROUPS,
    HEAD_WIDTH,
    Downsample,
    PreparedContext,
    ResBlock,
    SpatialTransformer,
    TransformerBlock,
    split_heads,
)


@dataclass(frozen=True)
class BlockSize:
    """One entry of `input_blocks`, `middle_block` or `output_blocks`."""

    channels_in: int
    channels_out: int
    depth: int = 0  # transformer blocks; 0 = no attention
    resample: bool = False  # input: this block only halves; output: it doubles at its end


@dataclass(frozen=True)
class UNetSizes:
    """Everything that differs between UNets of this family, as read from a file's tensors (`formats/sizes.py`)."""

    in_channels: int
    out_channels: int
    model_channels: int
    embed_channels: int
    context_dim: int
    adm_channels: int  # width of y: pooled text + 6 embedded size numbers (5 in the refiner); 0 = no y
    inputs: tuple[BlockSize, ...]  # after the stem
    middle: BlockSize
    outputs: tuple[BlockSize, ...]
    heads: int | None = None  # of every attention; None: as many as are 64 wide

    def head_width(self, channels: int) -> int:
        return channels // self.heads if self.heads else HEAD_WIDTH


@dataclass(frozen=True)
class Injections:
    """What other networks add to one UNet call. Every tensor has the batch of x, or 1.

    stem: added to the first convolution's output (and so to the first skip). skips: one per input block, the stem
    included, added to the skip connections. middle: added after the middle block.
    """

    stem: Tensor | None = None
    skips: tuple[Tensor | None, ...] = ()
    middle: Tensor | None = None


class UNet(nn.Module):
    """`unet(x, timesteps, context, y)` predicts noise (or v)."""

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, embed = sizes.model_channels, sizes.embed_channels
        self.time_embed = nn.Sequential(nn.Linear(width, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.label_emb = nn.Sequential()
        if sizes.adm_channels:
            label = nn.Sequential(nn.Linear(sizes.adm_channels, embed), nn.SiLU(), nn.Linear(embed, embed))
            self.label_emb.append(label)
        stem = nn.ModuleList([nn.Conv2d(sizes.in_channels, width, 3, padding=1)])
        self.input_blocks = nn.ModuleList([stem, *(_input_block(size, sizes) for size in sizes.inputs)])
        self.middle_block = nn.ModuleList(_stages(sizes.middle, sizes))
        if sizes.middle.depth:
            self.middle_block.append(ResBlock(sizes.middle.channels_out, sizes.middle.channels_out, embed))
        self.output_blocks = nn.ModuleList(_output_block(size, sizes) for size in sizes.outputs)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), nn.Conv2d(width, sizes.out_channels, 3, padding=1)
        )
        self._residuals = [m for m in self.modules() if isinstance(m, ResBlock)]
        self._crosses = [m.attn2 for m in self.modules() if isinstance(m, TransformerBlock)]
        self._number_blocks()
        self.emb_weight: Tensor
        self.emb_bias: Tensor
        self.context_weight: Tensor

    def side_by_side(self) -> dict[str, list[str]]:
        """Stack the time projections, and the cross-attentions' keys and values: one product per step or prompt."""
        names = {id(module): name for name, module in self.named_modules()}
        residuals = [names[id(m)] for m in self._residuals]
        crosses = [names[id(m)] for m in self._crosses]
        return {
            "emb_weight": [f"{name}.emb_layers.1.weight" for name in residuals],
            "emb_bias": [f"{name}.emb_layers.1.bias" for name in residuals],
            "context_weight": [f"{name}.{leaf}.weight" for name in crosses for leaf in ("to_k", "to_v")],
        }

    def prepare(self, context: Tensor) -> PreparedContext:
        """Compute the keys and values of all cross-attentions for a context (B, T, C) once, for all steps of a run."""
        crosses = [cross for cross in self._crosses for _ in ("k", "v")]
        both = F.linear(context.to(self.context_weight.dtype), self.context_weight)
        parts = zip(crosses, both.split([cross.width for cross in crosses], dim=-1), strict=True)
        heads = [split_heads(part, cross.head_width).contiguous() for cross, part in parts]
        return PreparedContext(tuple(zip(heads[::2], heads[1::2], strict=True)))

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor,
        context: Tensor | PreparedContext,
        y: Tensor,
        injections: Injections | None = None,
        freeu: FreeU | None = None,
    ) -> Tensor:
        """Predict for x (B, 4, h, w) at timesteps (B,), 0..999, fractions allowed.

        context: (B, T, C). y: (B, adm_channels), pooled text and embedded sizes. Returns (B, 4, h, w) in x's dtype.
        """
        dtype = self.emb_weight.dtype
        prepared = context if isinstance(context, PreparedContext) else self.prepare(context)
        emb = self._embed(timesteps, y)
        h = x.to(dtype, memory_format=torch.channels_last)
        h, skips = self._descend(h, emb, prepared, injections)
        for stage in self.middle_block:
            h = run_stage(stage, h, emb, prepared)
        if injections is not None and injections.middle is not None:
            h = h + injections.middle
        h = self._ascend(h, skips, emb, prepared, freeu)
        norm, _, conv = self.out
        return conv(F.silu(norm(h), inplace=True)).to(x.dtype)

    def _embed(self, timesteps: Tensor, y: Tensor, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return each residual block's share of the time and size embedding, (B, C, 1, 1). shift: added to it first."""
        dtype = self.emb_weight.dtype
        time = self.time_embed(timestep_embedding(timesteps, self.sizes.model_channels).to(dtype))
        emb = time + self.label_emb(y.to(dtype)) if self.sizes.adm_channels else time
        emb = emb if shift is None else emb + shift
        parts = F.linear(F.silu(emb), self.emb_weight, self.emb_bias)[:, :, None, None]
        return parts.split([block.channels_out for block in self._residuals], dim=1)

    def _descend(
        self, h: Tensor, emb: tuple[Tensor, ...], prepared: PreparedContext, injections: Injections | None
    ) -> tuple[Tensor, list[Tensor]]:
        skips: list[Tensor] = []
        for index, block in enumerate(self.input_blocks):
            for stage in block:  # pyright: ignore[reportGeneralTypeIssues] (ModuleList of ModuleLists)
                h = run_stage(stage, h, emb, prepared)
            if index == 0 and injections is not None and injections.stem is not None:
                h = h + injections.stem
            skips.append(h)
        if injections is not None and injections.skips:
            skips = [s if extra is None else s + extra for s, extra in zip(skips, injections.skips, strict=True)]
        return h, skips

    def _ascend(
        self, h: Tensor, skips: list[Tensor], emb: tuple[Tensor, ...], prepared: PreparedContext, freeu: FreeU | None
    ) -> Tensor:
        for block in self.output_blocks:
            skip = skips.pop()
            if freeu is not None:
                h, skip = freeu.apply(h, skip, self.sizes.model_channels)
            h = torch.cat((h, skip), dim=1)
            size = (skips[-1].shape[-2], skips[-1].shape[-1]) if skips else None
            for stage in block:  # pyright: ignore[reportGeneralTypeIssues]
                h = stage(h, size) if isinstance(stage, Upsample) else run_stage(stage, h, emb, prepared)
        return h

    def _number_blocks(self) -> None:
        for index, block in enumerate(self._residuals):
            block.index = index
        for index, cross in enumerate(self._crosses):
            cross.index = index


def run_stage(stage: nn.Module, h: Tensor, emb: tuple[Tensor, ...], prepared: PreparedContext) -> Tensor:
    """Run one layer of a block with what its kind needs."""
    if isinstance(stage, ResBlock):
        return stage(h, emb[stage.index])
    if isinstance(stage, SpatialTransformer):
        return stage(h, prepared)
    return stage(h)


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Return (B, width) float32 sinusoids, cosines first; base 10000, no shift."""
    half = width // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float32, device=timesteps.device) * (-math.log(10000) / half)
    )
    angles = timesteps.float()[:, None] * frequencies
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def _stages(size: BlockSize, sizes: UNetSizes) -> list[nn.Module]:
    stages: list[nn.Module] = [ResBlock(size.channels_in, size.channels_out, sizes.embed_channels)]
    if size.depth:
        width = size.channels_out
        stages.append(SpatialTransformer(width, size.depth, sizes.context_dim, sizes.head_width(width)))
    return stages


def _input_block(size: BlockSize, sizes: UNetSizes) -> nn.ModuleList:
    return nn.ModuleList([Downsample(size.channels_in)] if size.resample else _stages(size, sizes))


def _output_block(size: BlockSize, sizes: UNetSizes) -> nn.ModuleList:
    stages = _stages(size, sizes)
    if size.resample:
        stages.append(Upsample(size.channels_out))
    return nn.ModuleList(stages)
