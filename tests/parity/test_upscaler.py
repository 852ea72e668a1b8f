"""Our ESRGAN against one written a second time, through files of every layout."""

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.memory import Residency
from models.upscale.upscaler import load_upscaler
from tests.parity.rrdb_reference import LAYOUTS, named, random_weights, reference


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, height, width, 3, generator=torch.Generator().manual_seed(2))


def expected(weights, image, unshuffle=1):
    out = reference(weights, image.movedim(-1, 1), unshuffle)
    return out.clamp(0, 1).movedim(1, -1).float()


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_reference_picture(layout, ending, tmp_path: Path):
    weights = random_weights(features=16, growth=8, blocks=2, doublings=2)
    path = tmp_path / f"upscaler.{ending}"
    if ending == "safetensors":
        save_file(named(weights, layout), path)
    else:
        torch.save(OrderedDict(named(weights, layout)), path)
    upscaler = load_upscaler(path, Residency("cpu"))
    assert upscaler.scale == 4
    image = picture(20, 28)
    torch.testing.assert_close(upscaler.upscale(image), expected(weights, image), atol=2e-6, rtol=0)


@pytest.mark.parametrize(("doublings", "unshuffle", "scale"), [(1, 1, 2), (3, 1, 8), (2, 2, 2), (2, 4, 1), (0, 1, 1)])
@pytest.mark.parametrize("layout", ["real-esrgan", "old"])
def test_other_factors_are_read_from_the_tensors(layout, doublings, unshuffle, scale, tmp_path: Path):
    weights = random_weights(8, 4, 2, doublings, channels_in=3 * unshuffle**2)
    save_file(named(weights, layout), tmp_path / "upscaler.safetensors")
    upscaler = load_upscaler(tmp_path / "upscaler.safetensors", Residency("cpu"))
    assert upscaler.scale == scale
    image = picture(16, 24)
    torch.testing.assert_close(upscaler.upscale(image), expected(weights, image, unshuffle), atol=2e-6, rtol=0)


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_weights_of_a_training_run_are_unwrapped(wrapper, zipped, tmp_path: Path):
    weights = random_weights(8, 4, 2, 2)
    tensors = {f"module.{name}": tensor for name, tensor in named(weights, "real-esrgan").items()}
    content = {wrapper: tensors} | ({"params": {}} if wrapper == "params_ema" else {})
    torch.save(content, tmp_path / "trained.pth", _use_new_zipfile_serialization=zipped)
    image = picture(12, 12)
    upscaler = load_upscaler(tmp_path / "trained.pth", Residency("cpu"))
    torch.testing.assert_close(upscaler.upscale(image), expected(weights, image), atol=2e-6, rtol=0)


def test_sizes_that_the_unshuffle_does_not_divide_keep_their_proportions(tmp_path: Path):
    weights = random_weights(8, 4, 2, 2, channels_in=12)
    save_file(named(weights, "real-esrgan"), tmp_path / "x2.safetensors")
    upscaler = load_upscaler(tmp_path / "x2.safetensors", Residency("cpu"))
    assert upscaler.upscale(picture(13, 17)).shape == (1, 26, 34, 3)
    assert upscaler.upscale(picture(1, 1)).shape == (1, 2, 2, 3)


def test_the_published_size_loads_in_fooocus_s_dialect(tmp_path: Path):
    weights = random_weights(features=64, growth=32, blocks=23, doublings=2)
    tensors = named(weights, "fooocus")
    assert sum(tensor.numel() for tensor in tensors.values()) == 16_697_987  # of every published 4x ESRGAN
    torch.save({name: tensor.half() for name, tensor in tensors.items()}, tmp_path / "fooocus_upscaler_s409985e5.bin")
    upscaler = load_upscaler(tmp_path / "fooocus_upscaler_s409985e5.bin", Residency("cpu"))
    image = picture(12, 16)
    halved = {part: (weight.half(), bias.half()) for part, (weight, bias) in weights.items()}
    torch.testing.assert_close(upscaler.upscale(image), expected(halved, image), atol=1e-4, rtol=0)
