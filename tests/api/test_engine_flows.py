"""POST /v1/engine/generate/: which flow the pictures mean, its graph, and how many pictures it gives; fake nodes."""

from typing import Any

import pytest

from tests.api.test_engine_generate import IMAGE, MASK, URL, graph_of, made, opened

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


def test_a_picture_with_a_method_is_varied(client):
    graph = graph_of(client, uov_input_image=IMAGE, uov_method="Vary (Strong)")
    assert graph["SampleLatent"]["denoise"] == 0.85
    strength = graph_of(client, uov_input_image=IMAGE, uov_method="vary (subtle)", overwrite_vary_strength=0.3)
    assert strength["SampleLatent"]["denoise"] == 0.3


def test_upscale_multiple_is_the_factor_of_custom_only(client):
    body = {"uov_input_image": IMAGE, "uov_method": "Upscale (Custom)", "upscale_multiple": 3}
    assert opened(client, made(client, **body)["result"][0]).size == (120, 72)
    body["uov_method"] = "Upscale (2x)"
    assert opened(client, made(client, **body)["result"][0]).size == (80, 48)
    body = {"uov_input_image": IMAGE, "uov_method": "Upscale (Custom)"}
    assert opened(client, made(client, **body)["result"][0]).size == (40, 24)


def test_disabled_with_a_picture_is_plain_text_to_image(client):
    for method in ("Disabled", "disable", "disabled"):
        body = {"uov_input_image": IMAGE, "uov_method": method, "inpaint_input_image": IMAGE}
        assert "LoadImage" not in graph_of(client, **body, inpaint_mask_image_upload=MASK)


def test_a_mask_repaints_its_white_part(client):
    task = made(client, inpaint_input_image=IMAGE, inpaint_mask_image_upload=MASK)
    image = opened(client, task["result"][0]).convert("RGB")
    assert (image.getpixel((2, 2)), image.getpixel((38, 2))) == ((255, 0, 0), (200, 30, 90))
    assert task["req_params"]["current_tab"] == "inpaint"


def test_an_inverted_mask_is_never_asked_for(client):
    body = {"inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK, "invert_mask_checkbox": True}
    assert graph_of(client, **body)["AssembleMask"]["invert"] is False


def test_the_respective_field_is_this_contracts_own(client):
    graph = graph_of(client, inpaint_input_image=IMAGE, inpaint_mask_image_upload=MASK)
    assert graph["CropForInpaint"]["respective_field"] == 0.618


def test_distances_are_left_top_right_bottom_and_count_for_selected_sides(client):
    sides = {"outpaint_selections": ["Left", "Top", "Right"], "outpaint_distance": [8, 16, 0, 99]}
    graph = graph_of(client, inpaint_input_image=IMAGE, **sides)
    pad = graph["PadForOutpaint"]
    assert [pad[side] for side in ("left", "top", "right", "bottom")] == [8, 16, 12, 0]


def test_the_word_none_is_no_additional_prompt(client):
    body = {"inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK}
    graph = graph_of(client, **body, inpaint_additional_prompt="None")
    assert not any("None" in text for text in graph["EncodePrompts"]["texts"]["__value__"])


def test_placeholders_are_no_pictures(client):
    for word in ("", "None", "none", "null", None, "string"):
        body = {"uov_input_image": word, "uov_method": "Vary (Strong)", "inpaint_input_image": word}
        prompts = [{"cn_img": word}, {}, {"cn_stop": 0.6, "cn_weight": 0.5, "cn_type": "ImagePrompt"}]
        assert "LoadImage" not in graph_of(client, **body, controlnet_image=prompts)


def test_image_prompts_come_before_other_pictures(client):
    prompts = [{"cn_img": ""}, {"cn_img": IMAGE, "cn_type": "PyraCanny", "cn_stop": 0.4, "cn_weight": 0.9}]
    graph = graph_of(client, controlnet_image=prompts, uov_input_image=IMAGE, uov_method="Vary (Strong)")
    assert (graph["ApplyControl"]["stop"], graph["ApplyControl"]["weight"]) == (0.4, 0.9)
    assert "FitForVary" not in graph
    assert "EmptyLatentImage" in graph


def test_mixing_flags_join_image_prompts_with_the_other_picture(client):
    prompts = [{"cn_img": IMAGE, "cn_type": "PyraCanny"}]
    vary = {"uov_input_image": IMAGE, "uov_method": "Vary (Strong)"}
    graph = graph_of(client, controlnet_image=prompts, **vary, mixing_image_prompt_and_vary_upscale=True)
    assert {"ApplyControl", "FitForVary"} <= set(graph)
    paint = {"inpaint_input_image": IMAGE, "inpaint_mask_image_upload": MASK}
    graph = graph_of(client, controlnet_image=prompts, **paint, mixing_image_prompt_and_inpaint=True)
    assert {"ApplyControl", "CropForInpaint"} <= set(graph)
    assert "CropForInpaint" not in graph_of(client, controlnet_image=prompts, **paint)


def test_image_prompts_is_another_name_of_controlnet_image(client):
    assert "ApplyControl" in graph_of(client, image_prompts=[{"cn_img": IMAGE, "cn_type": "CPDS"}])


def test_at_most_four_image_prompts_are_used(client):
    prompts = [{"cn_img": IMAGE, "cn_type": "PyraCanny"}] * 6
    task = made(client, controlnet_image=prompts)
    assert len(task["req_params"]["controlnet_image"]) == 4


def test_enhancing_needs_its_switch_and_comes_first(client):
    body = {"enhance_input_image": IMAGE, "enhance_uov_method": "Vary (Subtle)", "uov_input_image": IMAGE}
    on = made(client, **body, uov_method="Vary (Strong)", enhance_checkbox=True)
    assert on["req_params"]["current_tab"] == "enhance"
    off = client.post(URL, json={"prompt": "a", **body})
    assert off.json()["req_params"]["current_tab"] == "uov"
    assert "enhance_input_image is not used" in off.headers["x-warning"]


def test_a_picture_that_does_nothing_is_told(client):
    reply = client.post(URL, json={"prompt": "a", "inpaint_mask_image_upload": MASK})
    assert "inpaint_mask_image_upload is not used" in reply.headers["x-warning"]
