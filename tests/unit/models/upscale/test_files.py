"""Upscaler files that cannot be used, and what is said about them."""

import pytest
import torch
from safetensors.torch import save_file

from models.errors import BadModelFile, NonFiniteOutput
from models.memory import Residency
from models.upscale.upscaler import load_upscaler
from tests.parity.rrdb_reference import named, random_weights

TENSORS = named(random_weights(8, 4, 2, 2), "old")


def refused(tmp_path, tensors) -> str:
    save_file(tensors, tmp_path / "up.safetensors")
    with pytest.raises(BadModelFile) as error:
        load_upscaler(tmp_path / "up.safetensors", Residency("cpu"))
    return str(error.value)


def test_another_architecture_is_named_as_such(tmp_path):
    said = refused(tmp_path, {"body.0.weight": torch.zeros(64, 3, 3, 3), "upsampler.weight": torch.zeros(48, 64, 3, 3)})
    assert "no upscaler that Focal knows" in said
    assert "ESRGAN" in said


def test_a_file_with_parts_that_would_be_ignored_is_refused(tmp_path):
    said = refused(tmp_path, {**TENSORS, "model.1.sub.0.RDB1.conv1x1.weight": torch.zeros(4, 8, 1, 1)})
    assert "conv1x1" in said


def test_a_missing_part_is_named(tmp_path):
    missing = "model.1.sub.1.RDB2.conv3.0.weight"
    said = refused(tmp_path, {name: tensor for name, tensor in TENSORS.items() if name != missing})
    assert "body.1.rdb2.conv3.weight" in said


def test_a_tensor_of_another_shape_is_named(tmp_path):
    said = refused(tmp_path, {**TENSORS, "model.6.weight": torch.zeros(8, 9, 3, 3)})
    assert "model.6.weight" in said


def test_grey_upscalers_are_refused(tmp_path):
    first = {"model.0.weight": torch.zeros(8, 1, 3, 3), "model.10.weight": torch.zeros(1, 8, 3, 3)}
    assert "colour" in refused(tmp_path, TENSORS | first)


def test_half_precision_files_are_used(tmp_path):
    save_file({name: tensor.half() for name, tensor in TENSORS.items()}, tmp_path / "half.safetensors")
    image = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(1))
    assert load_upscaler(tmp_path / "half.safetensors", Residency("cpu")).upscale(image).shape == (1, 32, 32, 3)


def test_weights_that_give_nan_are_an_error_that_says_what_to_do(tmp_path):
    save_file({**TENSORS, "model.10.bias": torch.full((3,), torch.nan)}, tmp_path / "nan.safetensors")
    upscaler = load_upscaler(tmp_path / "nan.safetensors", Residency("cpu"))
    with pytest.raises(NonFiniteOutput, match="another upscaler"):
        upscaler.upscale(torch.zeros(1, 8, 8, 3))
