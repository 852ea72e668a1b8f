"""Upscaling in overlapping tiles: memory does not grow with the picture, seams cannot be seen.

Tiles and overlap are Fooocus' and ComfyUI's. Each output pixel is a mean of the tiles over it, whose weights rise from
0 at a tile's inner edges, where the network did not see enough of the picture, and add up to 1 everywhere.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.tiles import starts

TILE_PX = 512
OVERLAP_PX = 32
SMALLEST_TILE_PX = 128
MARGIN = 4  # a tile's outermost 1/MARGIN of the overlap has no say at all

Report = Callable[[int, int], None]  # tiles done, all tiles


@dataclass(frozen=True)
class Span:
    """One tile along one side: where it begins, and the weight of each of its pixels."""

    start: int
    weights: Tensor  # (tile · scale,)


def upscale_tiled(
    run: Callable[[Tensor], Tensor],
    pixels: Tensor,
    scale: int,
    tile: int = TILE_PX,
    overlap: int = OVERLAP_PX,
    report: Report | None = None,
) -> Tensor:
    """Upscale (B, 3, H, W) with a function of a tile (1, 3, h, w) → (1, 3, h · scale, w · scale).

    Returns float32 (B, 3, H · scale, W · scale) in main memory, channels last.
    """
    batch, channels, height, width = pixels.shape
    out = torch.zeros(batch, height * scale, width * scale, channels).permute(0, 3, 1, 2)
    rows, columns = spans(height, tile, overlap, scale), spans(width, tile, overlap, scale)
    done, total = 0, batch * len(rows) * len(columns)
    for picture, target in zip(pixels.split(1), out.split(1), strict=True):
        for row, column in ((row, column) for row in rows for column in columns):
            part = picture[..., row.start : row.start + tile, column.start : column.start + tile]
            larger = run(part).to("cpu", torch.float32)
            top, left = row.start * scale, column.start * scale
            larger = larger * row.weights[:, None] * column.weights
            target[..., top : top + larger.shape[-2], left : left + larger.shape[-1]] += larger
            done += 1
            if report is not None:
                report(done, total)
    return out


def spans(length: int, tile: int, overlap: int, scale: int) -> list[Span]:
    """Cut one side into tiles. At every output pixel the weights of the tiles over it add up to 1."""
    begins = list(starts(length, tile, overlap))
    size = min(tile, length)
    sums = torch.zeros(length * scale, dtype=torch.float64)
    raised = []
    for begin in begins:
        weights = _raised(size, overlap, scale, inner_left=begin > 0, inner_right=begin + size < length)
        sums[begin * scale : (begin + size) * scale] += weights
        raised.append(weights)
    return [
        Span(begin, (weights / sums[begin * scale : (begin + size) * scale]).float())
        for begin, weights in zip(begins, raised, strict=True)
    ]


def _raised(size: int, overlap: int, scale: int, *, inner_left: bool, inner_right: bool) -> Tensor:
    """Weights of one tile along one side, full at the picture's own edges."""
    weights = torch.ones(size * scale, dtype=torch.float64)
    border = min(overlap, size) * scale
    if not border:
        return weights
    margin = border // MARGIN
    ramp = ((torch.arange(border, dtype=torch.float64) + 1 - margin) / (border + 1 - 2 * margin)).clamp(0, 1)
    if inner_left:
        weights[:border] *= ramp
    if inner_right:
        weights[-border:] *= ramp.flip(0)
    return weights


def smaller_tiles(tile: int = TILE_PX) -> Iterator[int]:
    """The tile sizes to try, each half the one before, while memory does not suffice."""
    while tile >= SMALLEST_TILE_PX:
        yield tile
        tile //= 2
