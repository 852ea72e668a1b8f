"""Running an autoencoder over overlapping tiles, for pictures whose feature maps do not fit into memory.

Three passes with tiles of different proportions are averaged, so that no seam falls in the same place twice (Fooocus'
and ComfyUI's tiles and feathers).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LATENT_CELL_PX = 8  # by which sizes in pixels are counted in latents, as in ComfyUI, whatever the autoencoder's factor


@dataclass(frozen=True)
class Tiling:
    """The side of the square tile and the overlap, in pixels. An overlap over a quarter of the side is cut to that."""

    side: int
    overlap: int

    def cells(self, size: int) -> tuple[tuple[tuple[int, int], ...], int]:
        """Return the three tiles (height, width) and the overlap, in cells of so many pixels."""
        side = self.side // size
        return ((side, side), (side // 2, 2 * side), (2 * side, side // 2)), min(self.overlap // size, side // 4)


DECODING = Tiling(512, 128)  # Fooocus' own for both directions
ENCODING = Tiling(512, 64)


def decode_in_tiles(
    decode: Callable[[Tensor], Tensor], latents: Tensor, scale: int, tiling: Tiling = DECODING
) -> Tensor:
    """Decode (B, 4, h, w) to (B, 3, h · scale, w · scale) with a function that decodes any size."""
    return _average(decode, latents, *tiling.cells(LATENT_CELL_PX), lambda cells: cells * scale)


def encode_in_tiles(
    encode: Callable[[Tensor], Tensor], pixels: Tensor, scale: int, tiling: Tiling = ENCODING
) -> Tensor:
    """Encode (B, 3, H, W) to (B, 4, H / scale, W / scale) with a function that encodes any size."""
    return _average(encode, pixels, *tiling.cells(1), lambda cells: cells // scale)


def _average(
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    tiles: tuple[tuple[int, int], ...],
    overlap: int,
    scaled: Callable[[int], int],
) -> Tensor:
    if all(x.shape[-2] <= height and x.shape[-1] <= width for height, width in tiles):
        return run(x).float()  # one tile in every pass, and all passes the same
    passes = [_one_pass(run, x, tile, overlap, scaled) for tile in tiles]
    return torch.stack(passes).mean(dim=0)


def _one_pass(
    run: Callable[[Tensor], Tensor], x: Tensor, tile: tuple[int, int], overlap: int, scaled: Callable[[int], int]
) -> Tensor:
    height, width = x.shape[-2:]
    total = weights = None
    for top in starts(height, tile[0], overlap):
        for left in starts(width, tile[1], overlap):
            out = run(x[..., top : top + tile[0], left : left + tile[1]]).float()
            mask = feather(out.shape[-2], out.shape[-1], scaled(overlap)).to(out.device)
            if total is None or weights is None:
                size = scaled(height), scaled(width)
                total, weights = out.new_zeros(*out.shape[:2], *size), out.new_zeros(1, 1, *size)
            place = (
                ...,
                slice(scaled(top), scaled(top) + out.shape[-2]),
                slice(scaled(left), scaled(left) + out.shape[-1]),
            )
            total[place] += out * mask
            weights[place] += mask
    assert total is not None
    assert weights is not None
    return total / weights


def starts(length: int, tile: int, overlap: int) -> Iterator[int]:
    """Where the tiles along one side begin: the last one ends at the side's end."""
    position = 0
    while position + tile < length:
        yield position
        position += tile - overlap
    yield max(0, length - tile)


def feather(height: int, width: int, border: int) -> Tensor:
    """Weights (1, 1, height, width) that fall linearly towards all four sides over `border`."""
    rising = [(torch.arange(size) + 1).clamp(max=border) / border for size in (height, width)]
    down, across = (side * side.flip(0) for side in rising)
    return (down[:, None] * across)[None, None]
