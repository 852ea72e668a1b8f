"""Tiles: positions, feathers, and whole pictures put together again."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from models.tiles import decode_in_tiles, encode_in_tiles, feather, starts


@given(st.integers(1, 400), st.sampled_from([(64, 16), (32, 16), (128, 16), (512, 64)]))
def test_tiles_cover_a_side_without_gaps_and_stay_inside(length: int, sizes: tuple[int, int]) -> None:
    tile, overlap = sizes
    found = list(starts(length, tile, overlap))
    ends = [min(start + tile, length) for start in found]
    assert (found[0], ends[-1]) == (0, length)
    assert all(following <= end - overlap for end, following in zip(ends, found[1:], strict=False))
    assert all(end - start == min(tile, length) for start, end in zip(found, ends, strict=True))


def test_feather_rises_linearly_from_every_side() -> None:
    mask = feather(8, 16, 4)[0, 0]
    torch.testing.assert_close(mask[:, 8], torch.tensor([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]))
    torch.testing.assert_close(mask[3, :5], torch.tensor([0.25, 0.5, 0.75, 1, 1]))
    torch.testing.assert_close(mask[0, 0], torch.tensor(0.0625))


def test_what_treats_every_pixel_alone_is_the_same_in_tiles() -> None:
    latents = torch.randn(2, 4, 70, 150, generator=torch.Generator().manual_seed(0))

    def decode(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(z[:, :3], scale_factor=8.0, mode="nearest")

    torch.testing.assert_close(decode_in_tiles(decode, latents, 8), decode(latents))
    pixels = torch.rand(1, 3, 600, 1104, generator=torch.Generator().manual_seed(0))

    def encode(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(x, 8)

    torch.testing.assert_close(encode_in_tiles(encode, pixels, 8), encode(pixels))
