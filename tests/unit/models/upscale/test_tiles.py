"""Tiles of an upscaler: weights, seams, memory."""

import tracemalloc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional as F

from models.errors import OutOfMemory
from models.memory import Residency
from models.upscale import upscaler as module
from models.upscale.tiles import spans, upscale_tiled
from models.upscale.upscaler import Upscaler, load_upscaler
from tests.parity.rrdb_reference import named, random_weights


def doubled(tile: torch.Tensor) -> torch.Tensor:
    return F.interpolate(tile, scale_factor=2.0, mode="nearest")


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def upscaler(tmp_path) -> Upscaler:
    save_file(named(random_weights(8, 4, 1, 1), "real-esrgan"), tmp_path / "up.safetensors")
    return load_upscaler(tmp_path / "up.safetensors", Residency("cpu"))


@settings(deadline=None)
@given(st.integers(1, 700), st.sampled_from([128, 256, 512]), st.sampled_from([0, 16, 32]), st.sampled_from([1, 2, 4]))
def test_weights_of_all_tiles_add_up_to_one_everywhere(length, tile, overlap, scale):
    total = torch.zeros(length * scale)
    for span in spans(length, tile, overlap, scale):
        total[span.start * scale : span.start * scale + len(span.weights)] += span.weights
    torch.testing.assert_close(total, torch.ones(length * scale))


def test_what_treats_every_pixel_alone_is_the_same_in_tiles():
    pixels = noise(2, 3, 150, 300)
    torch.testing.assert_close(upscale_tiled(doubled, pixels, 2, tile=128), doubled(pixels))


def test_the_outermost_pixels_of_a_tile_have_no_say_inside_the_picture():
    def spoilt(tile: torch.Tensor) -> torch.Tensor:
        out = doubled(tile).clone()
        for edge in (out[..., :16, :], out[..., -16:, :], out[..., :16], out[..., -16:]):
            edge += 1  # what padding with zeros does to a network's output, exaggerated
        return out

    pixels = noise(1, 3, 200, 200)
    inside = upscale_tiled(spoilt, pixels, 2, tile=128)[..., 16:-16, 16:-16]
    torch.testing.assert_close(inside, doubled(pixels)[..., 16:-16, 16:-16])


def test_every_tile_is_reported(upscaler):
    told = []
    upscale_tiled(doubled, noise(2, 3, 150, 100), 2, tile=128, report=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


class FullDevice:
    """A network on a device where only tiles up to a size fit."""

    def __init__(self, network: torch.nn.Module, largest: int) -> None:
        self.network, self.largest, self.tried = network, largest, []

    def __call__(self, tile: torch.Tensor) -> torch.Tensor:
        self.tried.append(max(tile.shape[-2:]))
        if max(tile.shape[-2:]) > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        with torch.inference_mode():
            return self.network(tile)


def test_tiles_are_halved_until_they_fit(upscaler, monkeypatch):
    image = noise(1, 300, 200, 3)
    whole = upscaler.upscale(image)
    made = []
    monkeypatch.setattr(module, "_on_device", lambda network: made.append(FullDevice(network, 128)) or made[-1])
    halved = upscaler.upscale(image)
    assert [device.tried[0] for device in made] == [300, 256, 128]
    assert (halved - whole).abs().max() <= 1 / 255


def test_below_the_smallest_tile_the_answer_is_an_error_that_says_what_to_do(upscaler, monkeypatch):
    monkeypatch.setattr(module, "_on_device", lambda network: FullDevice(network, 64))
    with pytest.raises(OutOfMemory, match="128 pixels"):
        upscaler.upscale(noise(1, 300, 200, 3))


def test_a_tile_that_the_budget_cannot_hold_is_not_tried(upscaler, monkeypatch):
    made = []
    monkeypatch.setattr(module, "_on_device", lambda network: made.append(FullDevice(network, 10_000)) or made[-1])
    small = Upscaler(upscaler.module, upscaler.full, memory_bytes=module.working_bytes(upscaler.module, 200))
    small.upscale(noise(1, 600, 200, 3))
    assert len(made) == 1
    assert max(made[0].tried) == 128


def test_working_memory_does_not_grow_with_the_picture():
    def peak(height: int) -> int:
        pixels, largest = noise(1, 3, height, 128), [0]

        def run(tile: torch.Tensor) -> torch.Tensor:
            largest[0] = max(largest[0], tile.numel())
            return doubled(tile)

        tracemalloc.start()
        upscale_tiled(run, pixels, 2, tile=128)
        beside = tracemalloc.get_traced_memory()[1]  # Python's own objects; tensors are counted by `largest`
        tracemalloc.stop()
        assert beside < 5_000_000
        return largest[0]

    assert peak(256) == peak(2048) == 3 * 128 * 128
