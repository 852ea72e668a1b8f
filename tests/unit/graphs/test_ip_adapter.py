"""Image prompts and face swaps as nodes."""

import pytest

from graphs.builder import GraphBuilder
from graphs.catalog import Catalog, MissingFile
from graphs.ip_adapter import apply_image_prompts
from graphs.request_parts import ImagePrompt, InputImage, Preprocessing

TINY = "focal-tiny-sdxl.safetensors"
REAL = "juggernautXL_v8Rundiffusion.safetensors"
REAL_FILES = (
    "ip-adapter-plus_sdxl_vit-h.bin",
    "ip-adapter-plus-face_sdxl_vit-h.bin",
    "detection_Resnet50_Final.pth",
)
NEGATIVE = "fooocus_ip_negative.safetensors"
TINY_FILES = (
    "focal-tiny-ip-adapter-plus.safetensors",
    "focal-tiny-ip-adapter-plus-face.safetensors",
    "focal-tiny-face-detector.safetensors",
)
VISION = ("clip_vision_vit_h.safetensors", "focal-tiny-clip-vision.safetensors")
FILES = {"controlnet": (*REAL_FILES, NEGATIVE, *TINY_FILES), "clip_vision": VISION}
CATALOG = Catalog(checkpoints=(REAL, TINY), files=FILES)
A, B = InputImage("a.png", 100, 80), InputImage("b.png", 64, 64)


def nodes(prompts, catalog=CATALOG, checkpoint=REAL, **settings):
    g = GraphBuilder()
    model = g.CheckpointLoaderSimple(ckpt_name=checkpoint)["MODEL"]
    patched = apply_image_prompts(g, model, prompts, Preprocessing(**settings), catalog, checkpoint)
    return list(g.to_json().values()), patched, model


def of(found, class_type):
    return [node["inputs"] for node in found if node["class_type"] == class_type]


def test_face_swaps_follow_image_prompts_with_the_strengths_of_their_types():
    found, _, _ = nodes([ImagePrompt(A, "FaceSwap"), ImagePrompt(B), ImagePrompt(A, weight=1.5, stop=0.2)])
    assert [(n["weight"], n["stop"]) for n in of(found, "ApplyImagePrompt")] == [(0.6, 0.5), (1.5, 0.2), (0.75, 0.9)]
    assert [n["adapter_name"] for n in of(found, "ImagePromptLoader")] == list(REAL_FILES[:2])
    assert [n["image"] for n in of(found, "LoadImage")] == ["b.png", "a.png", "a.png"]
    assert len(of(found, "CLIPVisionLoader")) == 1
    assert len(of(found, "CropFace")) == 1


def test_each_patches_the_model_that_the_one_before_made():
    found, patched, _ = nodes([ImagePrompt(A), ImagePrompt(B)])
    first, second = of(found, "ApplyImagePrompt")
    assert found[int(second["model"][0]) - 1]["inputs"] == first
    assert found[int(patched.node_id) - 1]["inputs"] == second


def test_fooocus_negative_tokens_are_used_where_they_are_but_never_beside_the_tiny_model():
    found, _, _ = nodes([ImagePrompt(A)])
    assert of(found, "ImagePromptLoader") == [{"adapter_name": REAL_FILES[0], "negative_name": NEGATIVE}]
    found, _, _ = nodes([ImagePrompt(A)], checkpoint=TINY)
    assert of(found, "ImagePromptLoader") == [{"adapter_name": TINY_FILES[0]}]
    without = Catalog(checkpoints=(REAL,), files={**FILES, "controlnet": REAL_FILES})
    found, _, _ = nodes([ImagePrompt(A)], without)
    assert of(found, "ImagePromptLoader") == [{"adapter_name": REAL_FILES[0]}]


def test_a_ready_face_is_not_cut_out_again():
    found, _, _ = nodes([ImagePrompt(A, "FaceSwap")], skip=True)
    assert of(found, "CropFace") == of(found, "FaceDetectorLoader") == []


@pytest.mark.parametrize("prompt", [ImagePrompt(A, weight=0.0), ImagePrompt(A, stop=0.0), ImagePrompt(A, "CPDS")])
def test_what_does_not_act_loads_nothing(prompt):
    found, patched, model = nodes([prompt], Catalog(checkpoints=(REAL,)))
    assert patched is model
    assert len(found) == 1


@pytest.mark.parametrize("missing", [*REAL_FILES, VISION[0]])
def test_a_missing_file_is_named_before_anything_runs(missing):
    files = {kind: tuple(name for name in names if name != missing) for kind, names in FILES.items()}
    with pytest.raises(MissingFile, match=missing) as refused:
        nodes([ImagePrompt(A), ImagePrompt(B, "FaceSwap")], Catalog(checkpoints=(REAL, TINY), files=files))
    assert refused.value.field == "image_prompts"
    assert f"focal models download {missing}" in str(refused.value.hint)
