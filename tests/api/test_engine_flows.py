"""POST /v1/engine/generate/: which graph each flow is compiled to, and how many pictures it gives; fake nodes."""

from typing import Any

import pytest

from tests.api.test_engine_generate import IMAGE, MASK, graph_of, made, opened

STAGE = {"enhance_enabled": True, "enhance_mask_model": "u2net"}
PAINT = {"inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK}


def prompt(kind: str, **more: Any) -> dict[str, Any]:
    return {"controlnet_image": [{"cn_img": IMAGE, "cn_type": kind, **more}]}


# name → (what is sent, classes that are in the graph, classes that are not, an input: class, name, value)
FLOWS: dict[str, tuple[dict[str, Any], set[str], set[str], tuple[str, str, Any]]] = {
    "masked inpaint": (
        PAINT,
        {"AssembleMask", "CropForInpaint", "EncodeInpaint", "PasteInpaint"},
        {"PadForOutpaint", "EmptyLatentImage"},
        ("AssembleMask", "invert", False),
    ),
    "inpaint without a mask": (
        {"inpaint_input_image": IMAGE},
        {"EmptyLatentImage"},
        {"LoadImage", "EncodeInpaint"},
        ("EmptyLatentImage", "width", 128),
    ),
    "inpaint with erased start": (
        PAINT | {"inpaint_disable_initial_latent": True, "inpaint_strength": 0.5},
        {"EncodeInpaint"},
        {"FillMasked"},
        ("EncodeInpaint", "disable_initial_latent", True),
    ),
    "outpaint": (
        {"inpaint_input_image": IMAGE, "outpaint_selections": ["Bottom"], "inpaint_respective_field": 0.3},
        {"PadForOutpaint", "FillMasked", "PasteInpaint"},
        {"EmptyLatentImage"},
        ("PadForOutpaint", "bottom", 7),
    ),
    "mask and outpaint": (
        PAINT | {"outpaint_selections": ["Right"], "outpaint_distance": [0, 0, 16, 0]},
        {"PadForOutpaint", "AssembleMask"},
        set(),
        ("PadForOutpaint", "right", 16),
    ),
    "ImagePrompt": (
        prompt("ImagePrompt"),
        {"CLIPVisionLoader", "ImagePromptLoader", "EncodeImagePrompt", "ApplyImagePrompt", "EmptyLatentImage"},
        {"ControlNetLoader", "CropFace"},
        ("ApplyImagePrompt", "weight", 0.5),
    ),
    "FaceSwap": (
        prompt("FaceSwap"),
        {"FaceDetectorLoader", "CropFace", "ApplyImagePrompt"},
        {"ControlNetLoader"},
        ("ApplyImagePrompt", "weight", 0.75),
    ),
    "FaceSwap of a cut face": (
        prompt("FaceSwap", cn_weight=1.2, cn_stop=0.4) | {"skipping_cn_preprocessor": True},
        {"ApplyImagePrompt"},
        {"CropFace"},
        ("ApplyImagePrompt", "stop", 0.4),
    ),
    "PyraCanny": (
        prompt("PyraCanny") | {"canny_low_threshold": 20},
        {"PyraCanny", "ApplyControl"},
        {"CPDS", "ApplyImagePrompt"},
        ("PyraCanny", "low_threshold", 20),
    ),
    "CPDS": (prompt("CPDS"), {"CPDS", "ApplyControl"}, {"PyraCanny"}, ("ApplyControl", "weight", 1.0)),
    "ready edges": (
        prompt("PyraCanny", cn_stop=0.8) | {"skipping_cn_preprocessor": True},
        {"FitForControl", "ApplyControl"},
        {"PyraCanny"},
        ("ApplyControl", "stop", 0.8),
    ),
    "no weight is the type's own": (
        prompt("CPDS", cn_weight=0, cn_stop=None),
        {"ApplyControl"},
        set(),
        ("ApplyControl", "stop", 0.5),
    ),
    "image prompt in an inpainted picture": (
        PAINT | prompt("ImagePrompt") | {"mixing_image_prompt_and_inpaint": True},
        {"ApplyImagePrompt", "EncodeInpaint"},
        {"EmptyLatentImage"},
        ("ApplyImagePrompt", "stop", 0.6),
    ),
    "a mask by u2net": (
        {"enhance_input_image": IMAGE, "enhance_checkbox": True, "enhance_ctrls": [STAGE]},
        {"MaskModelLoader", "MaskWithModel", "EncodeInpaint", "TakeIfMasked"},
        {"DetectBoxes", "EmptyLatentImage"},
        ("MaskModelLoader", "model_name", "focal-tiny-u2net.onnx"),
    ),
    "text to image, then enhanced": (
        {"enhance_checkbox": True, "enhance_uov_method": "Upscale (Fast 2x)"},
        {"EmptyLatentImage", "FitForUpscale"},
        {"MaskWithModel"},
        ("FitForUpscale", "factor", 2.0),
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_compiled_to_its_graph(client, name):
    sent, there, absent, (class_type, field, value) = FLOWS[name]
    graph = graph_of(client, **sent, inpaint_engine="None")
    assert there <= set(graph)
    assert not absent & set(graph)
    assert graph[class_type][field] == value


def test_the_first_prompt_of_the_plain_kind_stands_beside_a_control(client):
    both = [{"cn_img": IMAGE}, {"cn_img": IMAGE, "cn_type": "CPDS", "cn_weight": 0.4}]
    graph = graph_of(client, controlnet_image=both)
    assert (graph["ApplyImagePrompt"]["weight"], graph["ApplyControl"]["weight"]) == (0.5, 0.4)


@pytest.mark.parametrize(
    ("sent", "sizes"),
    [
        (prompt("CPDS") | {"debugging_cn_preprocessor": True}, [(128, 128)]),
        (prompt("FaceSwap") | {"debugging_cn_preprocessor": True}, [(224, 224)]),
        (PAINT | {"debugging_inpaint_preprocessor": True}, [(40, 24)] * 3),
    ],
)
def test_pictures_of_the_preparation_are_results_and_nothing_is_sampled(client, sent, sizes):
    assert "SampleLatent" not in graph_of(client, **sent)
    task = made(client, **sent)
    assert [opened(client, url).size for url in task["result"]] == sizes
