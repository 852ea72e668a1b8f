"""Describe as a graph."""

from dataclasses import replace

import pytest

from graphs.catalog import Catalog, MissingFile
from graphs.describe import STYLES, describe
from graphs.request import InputImage, Refused
from graphs.styles import StyleBook

REAL = (
    "model_base_caption_capfilt_large.pth",
    "bert-base-uncased/vocab.txt",
    "wd-v1-4-moat-tagger-v2.onnx",
    "wd-v1-4-moat-tagger-v2.csv",
)
TINY = ("focal-tiny-blip.pth", "focal-tiny-blip/vocab.txt", "focal-tiny-tagger.onnx", "focal-tiny-tagger.csv")
CATALOG = Catalog(checkpoints=("focal-tiny-sdxl.safetensors",), files={"clip_vision": (*REAL, *TINY)})
PICTURE = InputImage("a.png", 64, 64)


def kinds_of(graph):
    return [node.class_type for node in graph.nodes.values()]


def test_a_photo_is_captioned_and_a_drawing_tagged():
    graph, output = describe(PICTURE, ["Photo"], CATALOG)
    assert kinds_of(graph) == ["LoadImage", "CaptionerLoader", "DescribePhoto", "ShowText"]
    assert graph.nodes["2"].inputs == {"model_name": TINY[0], "vocabulary": TINY[1]}
    assert output == "4"
    graph, _ = describe(PICTURE, ["anime"], CATALOG)
    assert kinds_of(graph) == ["LoadImage", "TaggerLoader", "DescribeAnime", "ShowText"]
    assert graph.nodes["2"].inputs == {"model_name": TINY[2], "tags": TINY[3]}


def test_of_both_the_photos_words_come_first_whatever_the_order():
    graph, output = describe(PICTURE, ["Anime", "Photo", "Photo"], CATALOG)
    joined = graph.nodes[graph.nodes[output].inputs["text"].source]
    assert joined.class_type == "JoinTexts"
    assert [graph.nodes[joined.inputs[place].source].class_type for place in ("first", "second")] == [
        "DescribePhoto",
        "DescribeAnime",
    ]
    assert joined.inputs["separator"] == ", "


def test_beside_a_real_checkpoint_the_real_models_are_used():
    catalog = replace(CATALOG, checkpoints=("real.safetensors", *CATALOG.checkpoints))
    graph, _ = describe(PICTURE, ["Photo", "Anime"], catalog)
    named = [value for node in graph.nodes.values() for value in node.inputs.values() if value in (*REAL, *TINY)]
    assert sorted(named) == sorted(REAL)


@pytest.mark.parametrize("missing", REAL)
def test_a_missing_file_is_told_with_folder_and_command(missing):
    left = tuple(name for name in REAL if name != missing)
    catalog = Catalog(checkpoints=("real.safetensors",), files={"clip_vision": (*left, *TINY)})
    with pytest.raises(MissingFile) as caught:
        describe(PICTURE, ["Photo", "Anime"], catalog)
    assert f"{missing} in models/clip_vision" in caught.value.message
    assert caught.value.hint == f"Get it with: focal models download {missing}"
    assert caught.value.field == "image_type"


def test_unknown_kinds_and_none_at_all_are_refused():
    with pytest.raises(Refused, match="Did you mean 'Photo'"):
        describe(PICTURE, ["Phtoo"], CATALOG)
    with pytest.raises(Refused, match="No way to describe was chosen"):
        describe(PICTURE, [], CATALOG)


def test_the_styles_that_go_with_a_kind_exist():
    assert {name for names in STYLES.values() for name in names} <= set(StyleBook.load().names)
