"""Taggers: how pictures are prepared, which tags are named, and how they are written (Fooocus behaviour §5.10)."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models.describe.tagger import CHARACTER, GENERAL, load_tagger, prepared, read_tags, written
from models.errors import BadModelFile

TABLE = """tag_id,name,category,count
9999999,general,9,807858
9999998,sensitive,9,3771700
470575,1girl,0,4225150
212816,solo,0,3515897
13197,long_hair,0,2982517
999,fate/stay_night_(series),0,100
1000,saber_(fate),4,50
1001,"comma, the_cat",4,40
"""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text(TABLE)
    return path


def test_thresholds_are_strict_and_characters_come_first(table):
    tags = read_tags(table)
    assert [tag.category for tag in tags] == [9, 9, GENERAL, GENERAL, GENERAL, GENERAL, CHARACTER, CHARACTER]
    assert written(tags, [0.99, 0.99, 0.35, 0.36, 0.9, 0.0, 0.85, 0.86]) == "comma, the cat, solo, long hair"
    assert written(tags, [0.99] * 8, 0.99, 0.99) == ""
    assert written(tags, [0.1, 0.1, 0.2, 0.2, 0.2, 0.4, 0.9, 0.1]) == r"saber \(fate\), fate/stay night \(series\)"


@pytest.mark.parametrize(
    ("size", "box"), [((40, 20), (0, 8, 32, 24)), ((10, 30), (11, 0, 21, 32)), ((32, 32), (0, 0, 32, 32))]
)
def test_a_picture_stands_in_the_middle_of_a_white_square_blue_first(size, box):
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = 200  # red
    square = prepared(pixels, 32)
    assert square.shape == (1, 32, 32, 3)
    assert square.dtype == np.float32
    left, top, right, bottom = box
    assert (square[0, top:bottom, left:right] == (0, 0, 200)).all()
    outside = np.ones((32, 32), bool)
    outside[top:bottom, left:right] = False
    assert (square[0][outside] == 255).all()


def network(path, outputs):
    """Each output is the mean of one channel, as a share: blue, green, red, blue … (another program's ONNX writer)."""
    picture = helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, [None, 8, 8, 3])
    shares = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, outputs])
    spread = np.zeros((3, outputs), np.float32)
    spread[np.arange(outputs) % 3, np.arange(outputs)] = 1 / 255
    nodes = [
        helper.make_node("ReduceMean", ["input_1:0"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "spread"], ["out"]),
    ]
    weights = [helper.make_tensor("spread", TensorProto.FLOAT, spread.shape, spread.flatten())]
    graph = helper.make_graph(nodes, "tagger", [picture], [shares], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_tagger_names_what_its_network_finds(tmp_path, table):
    tagger = load_tagger(network(tmp_path / "t.onnx", 8), table)
    red = torch.zeros(8, 8, 3)
    red[..., 0] = 1.0
    assert tagger.side == 8
    assert tagger.describe(red) == r"1girl, fate/stay night \(series\)"
    assert tagger.describe(1 - red) == r"saber \(fate\), comma, the cat, solo, long hair"


def test_a_table_of_another_tagger_is_refused(tmp_path, table):
    with pytest.raises(BadModelFile, match="names 8 tags, the tagger gives 9"):
        load_tagger(network(tmp_path / "t.onnx", 9), table)
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadModelFile, match="no table of tags"):
        read_tags(tmp_path / "bad.csv")
