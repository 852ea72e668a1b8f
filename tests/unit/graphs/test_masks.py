"""Which graphs find masks, and what is refused before anything runs."""

import pytest

from graphs.catalog import Catalog, MissingFile
from graphs.masks import MODELS, mask_of
from graphs.request import InputImage, Refused
from graphs.request_parts import Masking
from graphs.wildcards import Wildcards

PICTURE = InputImage("a.png", 60, 40)
WORDS = ("groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt")


def catalog(*inpaint, checkpoint="focal-tiny-sdxl.safetensors", sam=("sam_vit_b_01ec64.pth",)):
    return Catalog(checkpoints=(checkpoint,), wildcards=Wildcards([]), files={"inpaint": inpaint, "sam": sam})


def nodes(masking, installed):
    graph, output = mask_of(PICTURE, masking, installed)
    assert graph.nodes[output].class_type == "MaskPreview"
    return {node.class_type: node.inputs for node in graph.nodes.values()}


@pytest.mark.parametrize("model", [name for name in MODELS if name not in ("sam", "u2net_cloth_seg")])
def test_the_tiny_file_stands_in_beside_the_tiny_checkpoint_only(model):
    tiny = "focal-tiny-u2net.onnx"
    assert nodes(Masking(model), catalog(tiny))["MaskModelLoader"]["model_name"] == tiny
    real = catalog(tiny, f"sub/{model}.onnx", checkpoint="big.safetensors")
    assert nodes(Masking(model.upper()), real)["MaskModelLoader"]["model_name"] == f"sub/{model}.onnx"
    with pytest.raises(MissingFile, match=rf"{model}\.onnx in models/inpaint.*focal models download {model}\.onnx"):
        mask_of(PICTURE, Masking(model), catalog(tiny, checkpoint="big.safetensors"))


def test_clothes_need_their_own_file_and_take_a_category():
    with pytest.raises(MissingFile, match="u2net_cloth_seg"):
        mask_of(PICTURE, Masking("u2net_cloth_seg"), catalog("focal-tiny-u2net.onnx"))
    found = nodes(Masking("u2net_cloth_seg", cloth_category="Upper"), catalog("u2net_cloth_seg.onnx"))
    assert found["MaskWithModel"]["category"] == "upper"


def test_words_are_looked_for_with_their_thresholds():
    asked = Masking("sam", " Red Face ", sam_model="vit_b", box_threshold=0.4, text_threshold=0.1, max_detections=3)
    found = nodes(asked, catalog(*WORDS))
    assert found["DetectBoxes"]["prompt"] == "Red Face"
    assert found["DetectBoxes"]["box_threshold"] == 0.4
    assert found["DetectBoxes"]["text_threshold"] == 0.1
    assert found["MaskBoxes"]["max_detections"] == 3
    assert found["SamLoader"]["model_name"] == "sam_vit_b_01ec64.pth"


def test_boxes_alone_are_shown_without_segment_anything():
    found = nodes(Masking("sam", "face", dino_erode_or_dilate=-3, debug=True), catalog(*WORDS, sam=()))
    assert "BoxesToMask" in found
    assert found["DetectBoxes"]["erode_or_dilate"] == -3


@pytest.mark.parametrize(
    ("masking", "installed", "field", "said"),
    [
        (Masking("sam", "face"), catalog(WORDS[0]), "masking.model", "vocab.txt"),
        (Masking("sam", "face"), catalog(WORDS[1]), "masking.model", "groundingdino_swint_ogc.pth"),
        (Masking("sam", "face", sam_model="vit_h"), catalog(*WORDS), "masking.sam_model", "sam_vit_h_4b8939.pth"),
        (Masking("sam", " "), catalog(*WORDS), "masking.prompt", "words"),
        (Masking("u2nets"), catalog(), "masking.model", "Did you mean 'u2net'"),
        (Masking(cloth_category="hat"), catalog(), "masking.cloth_category", "hat"),
        (Masking("sam", "face", box_threshold=1.5), catalog(*WORDS), "masking.box_threshold", "1.5"),
        (Masking(dino_erode_or_dilate=-1000), catalog(), "masking.dino_erode_or_dilate", "-1000"),
        (Masking(max_detections=-1), catalog(), "masking.max_detections", "-1"),
    ],
)
def test_what_cannot_be_done_is_refused(masking, installed, field, said):
    with pytest.raises(Refused) as refused:
        mask_of(PICTURE, masking, installed)
    assert refused.value.field == field
    assert said in refused.value.message
