"""How pictures are fed to files of the U²-Net family, and what their answers become; small ONNX files stand in."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.errors import BadModelFile
from models.masks.u2net import FEEDINGS, U2NET, fed, open_mask_network, stretched
from models.tiny import U2NET_FILE

SIDE = 16


def network(path, weight: np.ndarray, side: int | str = SIDE):
    """Write a file that is one 1x1 convolution, (outputs, 3)."""
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input.1", "weight"], ["said"])],
        "one convolution",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, [1, len(weight), side, side])],
        [numpy_helper.from_array(weight.astype(np.float32)[..., None, None], "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def halves() -> torch.Tensor:
    """(1, 20, 40, 3): red left, blue right."""
    image = torch.zeros(1, 20, 40, 3)
    image[:, :, :20, 0] = image[:, :, 20:, 2] = 200 / 255
    return image


def test_the_first_channel_stretched_to_the_whole_range_is_the_mask(tmp_path):
    mask = open_mask_network(network(tmp_path / "red.onnx", np.array([[1.0, 0, 0]]))).mask(halves())
    assert mask.shape == (1, 20, 40)
    assert mask.min() == 0
    assert mask.max() == 1  # at the border, where Lanczos goes beyond
    assert (mask[0, :, :15] > 0.9).all()
    assert (mask[0, :, 25:] < 0.1).all()
    assert torch.equal(mask, mask.mul(255).round().div(255))


def test_a_network_that_says_the_same_everywhere_selects_nothing():
    assert not stretched(np.full((4, 4), 0.7)).any()


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("u2net", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("isnet-general-use", (0.5, 0.5, 0.5), (1, 1, 1)),
        ("isnet-anime", (0.485, 0.456, 0.406), (1, 1, 1)),
    ],
)
def test_pictures_are_fed_relative_to_their_brightest_value(name, mean, deviation):
    pixels = np.random.default_rng(1).integers(0, 180, (30, 50, 3), dtype=np.uint8)
    square = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)) / 1.0
    expected = (square / square.max() - mean) / deviation
    given = fed(pixels, FEEDINGS.get(name, U2NET), SIDE)
    assert given.shape == (1, 3, SIDE, SIDE)
    assert np.allclose(given[0].transpose(1, 2, 0), expected, atol=1e-6)
    assert np.isfinite(fed(np.zeros((4, 4, 3), np.uint8), U2NET, SIDE)).all()


def test_clothes_are_the_class_of_their_category(tmp_path):
    """Class 1 (upper) where it is red, 2 (lower) where it is blue, 3 (full) nowhere."""
    weight = np.array([[0, 0, 0], [1.0, 0, -1], [-1.0, 0, 1], [-9, 0, -9]])
    clothes = open_mask_network(network(tmp_path / "u2net_cloth_seg.onnx", weight))
    masks = {category: clothes.mask(halves(), category)[0] for category in ("upper", "lower", "full")}
    assert (masks["upper"][:, :18] == 1).all()
    assert (masks["upper"][:, 22:] == 0).all()
    assert torch.equal(masks["lower"], 1 - masks["upper"])
    assert not masks["full"].any()


def test_the_side_is_the_file_s_or_else_the_family_s(tmp_path):
    assert open_mask_network(network(tmp_path / "u2net.onnx", np.eye(3)[:1])).side_px == SIDE
    assert open_mask_network(network(tmp_path / "free.onnx", np.eye(3)[:1], "side")).side_px == 320
    assert open_mask_network(network(tmp_path / "isnet-anime.onnx", np.eye(3)[:1], "side")).side_px == 1024


def test_what_is_no_mask_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(BadModelFile, match="no ONNX model"):
        open_mask_network(tmp_path / "text.onnx")
    with pytest.raises(BadModelFile, match="no mask of a picture"):
        open_mask_network(network(tmp_path / "three.onnx", np.eye(3)))


def test_the_tiny_file_takes_and_gives_what_the_published_one_does():
    """rembg's u2net.onnx: input.1 (1, 3, 320, 320), seven outputs (1, 1, 320, 320)."""
    model = onnx.load(U2NET_FILE)
    sizes = [
        [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert [value.name for value in model.graph.input] == ["input.1"]
    assert sizes == [[1, 3, 320, 320], *[[1, 1, 320, 320]] * 7]
    assert U2NET_FILE.stat().st_size <= 1_500_000
